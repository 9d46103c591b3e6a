"""Where the trials of a sweep run: Hydra's launcher `stack`, and the executors that work on stacks.

`stack` is the launcher of `xentlab train -m`. Hydra shows a launcher all jobs of a sweep at once; this one runs each
job's function in its own job directory, and where the functions return `deferred.Deferred`, brings their results in
together, so that the trials behind them can train as stacks. `deferred` is that promise alone and knows nothing of
Hydra: a job can be written, and tested, without it.

An executor takes stacks and gives back results; one module each, named in `executor=...`. To add one, write the module
and its file in `configs/executor`. Only `stack` imports Hydra, and nothing here is imported before it is needed.
"""
