"""Learns from a corrected segmentation: python3 learn.py MODEL IMAGE.nii.gz CORRECTED.nii.gz BETTER.safetensors [STEPS]

Goes on training the model with one image and its corrected labels, says how well old and new model agree with them, and saves the new one.
"""

import sys

import meddino


def mean_dice(context, model, image, corrected):
    labels, _ = model.segment_image(image)
    scores = [one.dice for one in meddino.evaluate(context, corrected.array, labels.array, image.spacing, distances=False) if one.dice == one.dice]
    return sum(scores) / max(len(scores), 1)


def main(arguments):
    if len(arguments) not in (4, 5) or not (arguments + ["20"])[4].isdecimal():
        sys.stderr.write(__doc__ + "\n")
        return 2
    model_path, image_path, labels_path, output_path = arguments[:4]
    steps = int(arguments[4]) if len(arguments) == 5 else 20
    try:
        context = meddino.Context(log=lambda level, message: sys.stderr.write("%s\n" % message))
        model = meddino.Model.open(context, model_path)
        image, corrected = model.read_image(image_path), model.read_image(labels_path)
        cases = meddino.Dataset.create(model)
        cases.add("corrected", image.array, corrected.array, image.spacing, image.origin, image.direction)
        trainer = meddino.Trainer(context, model, cases, {"recipe": "few-shot", "epochs": 1, "drop_path": 0})
        for _ in range(steps):
            metrics = trainer.step()
            print("step %d: loss %.4f" % (metrics.step, metrics.loss))
        better = trainer.export()
        better.save(output_path)
        print("mean Dice with the correction: %.4f before, %.4f after" % (
            mean_dice(context, model, image, corrected), mean_dice(context, better, image, corrected)))
    except meddino.Error as error:
        sys.stderr.write("%s: %s\n" % (error.name, error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
