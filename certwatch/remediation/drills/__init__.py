"""Exercises in a staging label: something is broken on purpose, and what should happen by itself is waited for.

exercise.py    what was done and what was expected, with times: the report
staged.py      what may be broken: only what is in staging everywhere
scenarios.py   expired certificate, half-deployed renewal, OCSP outage, compromised CA
"""
