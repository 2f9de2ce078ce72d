"""Export the small SavedModels behind rest-transcripts.json: golden_models.py OUT_DIR.

Copied from the models that a real TensorFlow Serving 2.20 answered for (shared/tfserving/golden_models.py); the
recorded answers lie beside this file. Run as a script, so that the test process itself never loads TensorFlow.
"""

import sys

import tensorflow as tf

OUT = sys.argv[1]


def spec(shape, dtype, name):
    return tf.TensorSpec(shape, dtype, name=name)


class HalfPlusTwo(tf.Module):
    """One float vector in, one out; versions 1 (x/2+2) and 2 (x/2+3)."""

    def __init__(self, b):
        super().__init__()
        self.a, self.b = tf.Variable(0.5), tf.Variable(float(b))

    @tf.function(input_signature=[spec([None], tf.float32, "x")])
    def serve(self, x):
        return {"y": self.a * x + self.b}


class TwoInTwoOut(tf.Module):
    """Named inputs a: int32 [n,2], b: float32 [n,1]; outputs sum: float32 [n,1], twice: int32 [n,2]."""

    @tf.function(input_signature=[spec([None, 2], tf.int32, "a"), spec([None, 1], tf.float32, "b")])
    def serve(self, a, b):
        return {"sum": tf.cast(tf.reduce_sum(a, 1, keepdims=True), tf.float32) + b, "twice": a * 2}


class Text(tf.Module):
    """Strings in; their length, their upper case (name without and with the _bytes suffix)."""

    @tf.function(input_signature=[spec([None], tf.string, "text")])
    def serve(self, text):
        up = tf.strings.upper(text)
        return {"length": tf.strings.length(text), "upper": up, "upper_bytes": up}


class Kinds(tf.Module):
    """One input of every common dtype, each handed back; plus 1/x so that inf and nan come out."""

    @tf.function(
        input_signature=[
            spec([None], tf.bool, "flag"),
            spec([None], tf.int64, "i64"),
            spec([None], tf.uint8, "u8"),
            spec([None], tf.float64, "f64"),
        ]
    )
    def serve(self, flag, i64, u8, f64):
        return {
            "flag_out": tf.logical_not(flag),
            "i64_out": i64,
            "u8_out": u8,
            "f64_out": f64,
            "inverse": 1.0 / f64,
            "root": tf.sqrt(f64),
        }


class Half(tf.Module):
    """float16, which the REST API cannot take as input."""

    @tf.function(input_signature=[spec([None], tf.float16, "x")])
    def serve(self, x):
        return {"y": x + 1.0}


class FixedBatch(tf.Module):
    """Batch of exactly 2, and a second signature that takes a scalar."""

    @tf.function(input_signature=[spec([2, 3], tf.float32, "x")])
    def serve(self, x):
        return {"y": x * 10.0}

    @tf.function(input_signature=[spec([], tf.float32, "s")])
    def scalar(self, s):
        return {"t": s + 1.0}


def save_classic(version):
    """classify and regress signatures, which take serialized tf.Example with a float feature x."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], "examples")
        x = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32, [0.0])})["x"]
        info = v1.saved_model.utils.build_tensor_info
        scores, classes = tf.concat([x, 1.0 - x], 1), tf.tile(tf.constant([["yes", "no"]]), [tf.shape(x)[0], 1])
        sign = v1.saved_model.signature_def_utils.build_signature_def
        signatures = {
            "serving_default": sign(
                {"inputs": info(examples)},
                {"classes": info(classes), "scores": info(scores)},
                "tensorflow/serving/classify",
            ),
            "regress": sign({"inputs": info(examples)}, {"outputs": info(x * 2.0)}, "tensorflow/serving/regress"),
            "predict": sign({"x": info(x)}, {"y": info(x * 2.0)}, "tensorflow/serving/predict"),
        }
        builder = v1.saved_model.Builder(f"{OUT}/classic/{version}")
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


def save(module, name, version, **more):
    tf.saved_model.save(module, f"{OUT}/{name}/{version}", signatures={"serving_default": module.serve, **more})


def main():
    save(HalfPlusTwo(2), "half_plus_two", 1)
    save(HalfPlusTwo(3), "half_plus_two", 2)
    save(TwoInTwoOut(), "two_in_two_out", 1)
    save(Text(), "text", 1)
    save(Kinds(), "kinds", 1)
    save(Half(), "half", 1)
    fixed = FixedBatch()
    save(fixed, "fixed_batch", 1, scalar=fixed.scalar)
    save_classic(1)


if __name__ == "__main__":
    main()
