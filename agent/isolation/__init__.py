"""A live camera is read in a child process, which can be killed: a driver that hangs, leaks or crashes ends with it."""
