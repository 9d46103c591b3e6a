"""The protocol: tune every loss at equal budgets, repeat the winners over fresh paired seeds, judge.

`cells.read_study` checks what is asked, and `recording.make_record` gives the record that
`xentlab.report` lays out. What is already recorded is not run again.
"""
