//! All integration tests in one binary, one file a room: each test binary links the table engine again.
