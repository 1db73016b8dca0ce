//! What clients of older systems ask, answered as it always was.

mod vm_pool;
