"""What holds for every test."""

import signal

# A shell without job control starts background jobs with Ctrl-C ignored, and their children inherit that: tests that
# end servers by it would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
