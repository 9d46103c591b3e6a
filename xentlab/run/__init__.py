"""Running trials: look each up by its signature, have what is missing trained, and write down everything as it happens.

Between `train`, which knows nothing of disks, and the commands, which know nothing of training. A `Session` finds what
is recorded and makes an `Order` of each stack that is not: plain data, so that any process on any machine that shares
the output directory can train it. An `Executor` is whatever brings orders to their end; without one, a session trains
in its own process.

- `order`: what an order holds, and the contract of executors
- `datasets`: data, read once per process, and the signatures of trials over it
- `training`: one order from its first epoch to its end, with its checkpoints and artifacts
- `sharing`: which trials a living session trains, so that two at once share them
- `meeting`: candidates that are chosen meet their test set
- `session`: an output directory with all that was ever recorded in it
- `performing`: what a process does that is handed an order
- `executors`: who trains, one module each

Nothing is imported here: a worker process must listen to its driver while it imports torch.
"""
