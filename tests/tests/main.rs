//! The whole of Lockkeeper as its users meet it. Each file is a promise; each test is a sentence about it.
