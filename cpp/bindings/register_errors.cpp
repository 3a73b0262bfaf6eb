// SPDX-License-Identifier: Apache-2.0
// C++ Error -> the exceptions of fmcodec.errors.
#include "fmcodec/error.h"
#include "register.h"

namespace py = pybind11;

namespace fmc {
namespace {

const char* class_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kCorrupt: return "CorruptStreamError";
    case ErrorCode::kTruncated: return "TruncatedStreamError";
    case ErrorCode::kChecksum: return "ChecksumError";
    case ErrorCode::kVersion: return "UnsupportedVersionError";
    case ErrorCode::kLimit: return "LimitExceededError";
    case ErrorCode::kSpecMismatch: return "SpecMismatchError";
    case ErrorCode::kNonFinite: return "NonFiniteError";
    case ErrorCode::kArgument: break;
  }
  return nullptr;
}

void raise(const Error& error) {
  const char* name = class_name(error.code());
  if (name == nullptr) {
    PyErr_SetString(PyExc_ValueError, error.what());
    return;
  }
  const py::object type = py::module_::import("fmcodec.errors").attr(name);
  const py::object offset =
      error.offset_bytes() == kNoOffset ? py::object(py::none()) : py::object(py::int_(error.offset_bytes()));
  const py::object exception = type(error.what(), offset);
  PyErr_SetObject(type.ptr(), exception.ptr());
}

}  // namespace

void register_errors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      raise(error);
    }
  });
}

}  // namespace fmc
