"""The command learn: a policy that is trained through the network it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fmcodec.cli_networks import (
    EXISTING,
    EXISTING_FILE,
    FILE,
    network_of,
    progress_bar,
    reading_options,
    samples_of,
)


@click.command("learn")
@reading_options
@click.option("--policy", "policy_path", type=EXISTING_FILE, required=True, help="Where learning starts.")
@click.option("--data", type=EXISTING, required=True, help="Calibration images: folder, zip, npz or safetensors.")
@click.option("--output", type=FILE, required=True, help="File for the learned policy.")
@click.option("--images", type=click.IntRange(min=4), default=256, show_default=True, help="Use at most so many.")
@click.option("--method", type=click.Choice(["projection", "precision", "both"]), default="both", show_default=True)
@click.option("--price", type=click.FloatRange(min=0), help="Divergence a bit per value is worth; else the start's.")
@click.option("--steps", type=click.IntRange(min=1), default=400, show_default=True, help="Of training.")
@click.option("--groups", type=click.IntRange(min=1), default=8, show_default=True, help="Of channels in a layer.")
@click.option("--checks", type=click.IntRange(min=1), default=4, show_default=True, help="Measurements on the way.")
@click.option("--vary/--no-vary", default=True, show_default=True, help="Mirror and shift images at random.")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Images of a step.")
@click.option("--seed", type=int, default=0, show_default=True)
def learn_command(
    model: str, policy_path: Path, data: Path, output: Path, images: int, steps: int, **options: Any
) -> None:
    """Train steps and projections of a policy through the network.

    MODEL is as for evaluate. The weights of the network stay as they are. Report the accuracy of the result, with
    evaluate, on images that are not in --data.
    """
    from fmcodec.learn import learn_policy
    from fmcodec.policy import Policy

    start: Policy = Policy.load(policy_path)
    network = network_of(model, options)
    samples = samples_of(data, network, options).limited(images)
    with progress_bar("learn", steps) as show:
        learned = learn_policy(
            network,
            samples,
            start,
            method=options["method"],
            price=options["price"],
            steps=steps,
            groups=options["groups"],
            batch_size=options["batch_size"],
            checks=options["checks"],
            vary=options["vary"],
            seed=options["seed"],
            progress=lambda done, total: show("learn", done),
        )
    learned.policy.save(output)
    click.echo(f"price {learned.price:.4g}\n{'step':>6} {'divergence':>11} {'bits/value':>11} {'loss':>9}")
    for check in learned.history:
        click.echo(f"{check.step:6} {check.divergence:11.5f} {check.bits_per_value:11.4f} {check.loss:9.5f}")
