"""Hydra's door; nothing here is imported before it is needed.

- `compose` runs a command on a composed config; `choices` clears it of what was meant for another choice
- `launcher` is `hydra/launcher=stack`, which trains the jobs of `xentlab train -m` together; `promise` is what a job
  gives it, `loader` remembers what the jobs share
- `words` and `mistakes` say what is wrong with a command line, `elsewhere` what other libraries call it
- `opening` opens the session that a config asks for
"""
