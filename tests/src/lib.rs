//! End-to-end tests of nodespan: scenarios, real servers, real kernels.
