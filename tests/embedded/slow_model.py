"""Export a model that takes its time: slow_model.py FOLDER. ``n`` steps of a loop, a few microseconds each.

Run as a script, so that the test process itself never loads TensorFlow.
"""

import sys

import tensorflow as tf


class Slow(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "n")])
    def serve(self, n):
        steps = tf.while_loop(lambda i: i < tf.reduce_max(n), lambda i: i + 1, [tf.constant(0)])[0]
        return {"steps": tf.fill(tf.shape(n), steps)}


def main():
    module = Slow()
    tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": module.serve})


if __name__ == "__main__":
    main()
