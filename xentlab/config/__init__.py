"""Hydra's door: composing configs, and the launcher of sweeps.

`compose` runs a command on a composed config. `launcher` is `hydra/launcher=stack`, the launcher of `xentlab train -m`:
Hydra shows a launcher all jobs of a sweep at once; this one runs each job's function in its own job directory, and
where the functions return a `promise.Promise`, brings their results in together, so that the trials behind them can
train as stacks. `promise` knows nothing of Hydra: a job can be written, and tested, without it. `loader` remembers what
the jobs of one sweep share. Nothing here is imported before it is needed.
"""
