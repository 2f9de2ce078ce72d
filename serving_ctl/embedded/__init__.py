"""A TF-Serving-compatible REST server on the TensorFlow wheel: ``python -m serving_ctl.embedded``.

A program of its own, started as a process and imported by nobody. It answers like ``tensorflow_model_server`` 2.20
does, but it is not TensorFlow Serving: every label says *embedded (TF-Serving-compatible)*.
"""

NAME = "embedded (TF-Serving-compatible)"
