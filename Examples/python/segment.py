"""Segments a volume (NIfTI, NRRD or MetaImage): python3 segment.py MODEL INPUT.nii.gz LABELS.nii.gz"""

import sys

import meddino


def show(fraction, stage):
    if sys.stderr.isatty():
        sys.stderr.write("\r%3d %% %-10s" % (int(fraction * 100), stage))


def main(arguments):
    if len(arguments) != 3:
        sys.stderr.write(__doc__ + "\n")
        return 2
    model_path, input_path, output_path = arguments
    try:
        context = meddino.Context(log=lambda level, message: sys.stderr.write("\r%s\n" % message))
        model = meddino.Model.open(context, model_path)
        image = model.read_image(input_path)
        labels, report = model.segment_image(image, progress=show)
        labels.write(output_path)
    except meddino.Error as error:
        sys.stderr.write("\n%s: %s\n" % (error.name, error))
        return 1
    names = {label.value: label.name for label in model.labels}
    for label in report.labels:
        border = "  touches the border" if label.touches_border else ""
        print("%5d  %-24s %12d voxels %10.2f ml%s" % (label.value, names.get(label.value, "?"), label.voxels, label.millilitres, border))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
