"""`state-signals demo`: the whole thing in a dozen seconds, with real processes and a real workload.

Read `collector.py` first: it is a complete responder in one page. `conductor.py` is the exporter's side.

    collector.py      the responder process
    meters.py         what it measures, through psutil
    workload.py       the worker process: hashes, compresses, writes and reads back
    scenario.py       who takes part, what is expected, and how results compare to that
    conductor.py      the run: starts everybody, publishes the signals, records the rounds
    processes.py      child processes that never outlive the demo
    interruption.py   Ctrl-C and SIGTERM, held back while something is being started or cleaned up
    timeline.py       the rounds along a time axis, as text
    live.py           lines while it runs
    report.py         tables and the last word
"""
