"""The model: trains a text CNN on movie-review sentences and exports it as a SavedModel for TensorFlow Serving.

A program of its own; the engine and the baseline know it only by the folder it writes.
"""
