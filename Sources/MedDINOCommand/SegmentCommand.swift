import ArgumentParser
import Imaging
import MedDINO
import Platform
import Reports
import Segmentation
import Tensors
import WeightFiles

struct SegmentCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "segment", abstract: "Label a volume: image file in, label map out.",
    discussion: """
      Images are NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd); the label map gets the format of its ending. \
      Without options the result is that of the official pipeline: float32, tiles at half steps, mirroring as the model says.
      """)

  @Argument(help: "Model file, nnU-Net result folder or checkpoint.", completion: .file()) var model: String
  @Argument(
    help: ArgumentHelp("Image; several for a model of several channels, in its channel order.", valueName: "image"), completion: .file())
  var images: [String]
  @Option(name: [.short, .long], help: "Label map to write, \(VolumeFile.endingsInWords).", completion: .file()) var output: String
  @Option(help: "Also write the probabilities (float32, one channel per head); memory then grows with the volume.", completion: .file())
  var probabilities: String?
  @Option(help: "Also write a sheet of slices with coloured contours.", completion: .file()) var preview: String?
  @Option(
    help: "Also write a page for people: one .html file with pictures, volumes, warnings, and what made them.", completion: .file())
  var report: String?
  @Flag(help: "Print statistics and warnings as JSON.") var json = false
  @Flag(help: "bf16 arithmetic where the processor has it, and no mirroring: several times faster, slightly different labels.") var fast =
    false
  @Option(help: "f32 or bf16.", completion: .list(["f32", "bf16"])) var precision: String?
  @Flag(help: "No mirroring (test-time averaging).") var noMirror = false
  @Option(help: "Step between tiles as a part of the tile, above 0 and at most 1.") var step = 0.5
  @Option(help: ArgumentHelp("Only this box of voxels: x0,x1,y0,y1,z0,z1, half-open.", valueName: "box")) var roi: String?
  @Option(help: ArgumentHelp("Only these labels, by value or name, comma-separated.", valueName: "labels")) var labels: String?
  @Flag(help: "Look only at the box around the body.") var bodyCrop = false
  @Flag(help: "Apply the postprocessing that the model carries (largest components).") var postprocess = false
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      try checkOutputs(
        [
          ("--output", output, VolumeFile.endings), ("--probabilities", probabilities, VolumeFile.endings),
          ("--preview", preview, [".png"]), ("--report", report, [".html"]),
        ],
        inputs: images + [model])
      let context = try common.context()
      let opened = try Model.open(model, options: try opening.options(), context: context)
      guard let task = opened.task else { throw opened.noDecoderError }
      let options = try runOptions(opened, context)
      let control = Terminal.control(quiet: common.quiet)
      let start = monotonicSeconds()
      let reader = try opened.imageReader()
      var inputs: [VolumeFile.Image] = []
      for path in images { inputs.append(try VolumeFile.readImage(path, reader: reader, in: context.budget, control: control)) }
      guard let first = inputs.first else { throw MedDINOError.invalid("no image given") }
      let result = try allocate(task.scheme.largestOutput > 255 ? .uint16 : .uint8, 1, first, context)
      let scores = try probabilities.map { _ in try allocate(.float32, task.scheme.heads.count, first, context) }
      let found = try opened.segment(
        inputs.map(\.volume), labels: result, probabilities: scores, options: options, control: control)
      try VolumeFile.write(first.inFileOrder(result), to: output, control: control)
      if let probabilities, let scores { try VolumeFile.write(first.inFileOrder(scores), to: probabilities, control: control) }
      let seconds = monotonicSeconds() - start
      if let preview { try writePreview(preview, first.volume, result, opened, context, control) }
      if let report {
        let page = SegmentationReportPage(
          model: opened, modelPath: model, folds: opening.folds, imagePaths: images, image: first, labels: result, labelPath: output,
          options: options, found: found, seconds: seconds)
        try page.write(to: report, context: context, control: control)
      }
      Terminal.finishProgress()
      printReport(found, opened, seconds: monotonicSeconds() - start, precision: options.precision)
    }
  }

  private func allocate(_ dtype: DType, _ channels: Int, _ image: VolumeFile.Image, _ context: Context) throws -> Volume {
    var volume = try Volume(allocating: dtype, channels: channels, geometry: image.volume.geometry, in: context.budget, "labels")
    volume.isPlane = image.volume.isPlane
    return volume
  }

  /// "liver,3" as label values. Throws: `.invalid` naming the labels that there are.
  private func labelValues(_ text: String, _ model: Model) throws -> [Int] {
    let known = model.labels.filter { $0.value != 0 }
    return try text.split(separator: ",", omittingEmptySubsequences: false).map(\.trimmed).map { word in
      if let label = known.first(where: { $0.name == word || String($0.value) == word }) { return label.value }
      let list = known.map { "\($0.value) \($0.name)" }.joined(separator: ", ")
      throw MedDINOError.invalid("--labels names \"\(word)\", expected labels of the model: \(list)")
    }
  }

  private func runOptions(_ model: Model, _ context: Context) throws -> RunOptions {
    var options = RunOptions()
    options.precision = try parsePrecision(precision)
    if fast {
      if precision == nil, context.device.hasFastBFloat16 { options.precision = .bfloat16 }
      options.mirrorAxes = []
      if !common.quiet {
        note(
          "fast: \(options.precision == .bfloat16 ? "bf16 arithmetic" : "float32 (this processor has no bf16 arithmetic)"), no mirroring")
      }
    }
    if noMirror { options.mirrorAxes = [] }
    guard step > 0, step <= 1 else { throw MedDINOError.invalid("--step is \(step), expected a value above 0 and at most 1") }
    options.segmentation.tileStep = step
    options.segmentation.bodyCrop = bodyCrop
    options.appliesPostprocessing = postprocess
    if let roi {
      let box = try integers(roi, "--roi")
      guard box.count == 6, box[0] < box[1], box[2] < box[3], box[4] < box[5], box.allSatisfy({ $0 >= 0 }) else {
        throw MedDINOError.invalid("--roi is \"\(roi)\", expected x0,x1,y0,y1,z0,z1 with x0 < x1, y0 < y1, z0 < z1")
      }
      options.segmentation.regionOfInterest = VoxelBox(lower: [box[0], box[2], box[4]], upper: [box[1], box[3], box[5]])
    }
    if let labels { options.segmentation.labelSubset = try labelValues(labels, model) }
    return options
  }

  private func writePreview(
    _ path: String, _ image: Volume, _ labels: Volume, _ model: Model, _ context: Context, _ control: RunControl
  ) throws {
    var sheet = OverlaySheet.Options()
    sheet.title = fileName(output)
    sheet.window = model.greyWindow(image)
    try OverlaySheet.write(
      image: image, labels: labels, legend: model.legend, options: sheet, to: path, in: context.budget, control: control)
  }

  private func printReport(_ report: SegmentationReport, _ model: Model, seconds: Double, precision: Precision) {
    if json {
      let rows = report.labels.map { label in
        JSON.object(
          ("value", .integer(label.value)), ("name", .string(label.name)), ("voxels", .integer(label.voxels)),
          ("millilitres", .number(label.millilitres)), ("touches_border", .bool(label.touchesBorder)))
      }
      return printJSON(
        .object(
          ("output", .string(output)), ("seconds", .number(seconds)), ("precision", .string(precision.rawValue)),
          ("labels", .array(rows)), ("warnings", .array(report.warnings.map(JSON.string)))))
    }
    if common.quiet { return }
    for warning in report.warnings { note("warning: \(warning)") }
    let width = report.labels.map(\.name.count).max() ?? 0
    for label in report.labels where label.voxels > 0 {
      let name = label.name.padded(width)
      let volume = DecimalText.fixed(label.millilitres, digits: 1).leftPadded(10)
      print("\(name)  \(volume) ml  \(String(label.voxels).leftPadded(9)) voxels\(label.touchesBorder ? "  touches the border" : "")")
    }
    print("\(output) in \(Terminal.duration(seconds))")
  }
}

extension Model {
  /// How its labels are drawn.
  var legend: [LegendEntry] {
    labels.filter { $0.value != 0 }.map { (value: $0.value, name: $0.name, rgba: Colour($0.red, $0.green, $0.blue, $0.alpha)) }
  }

  /// How images are shown that are made for its first channel.
  func greyWindow(_ image: Volume) -> (level: Double, width: Double) {
    GreyWindow.suitable(for: image, isCT: task?.configuration.normalization.first == .ct)
  }
}

/// What is opened of a model path that offers a choice.
struct OpeningOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Folds of an nnU-Net result folder that a model is opened from, comma-separated; all by default.", valueName: "list")
  ) var folds: String?
  @Option(help: "Checkpoint of an nnU-Net result folder: final or best.", completion: .list(["final", "best"])) var checkpoint: String?
  @Option(help: "2D configuration of the plans.") var configuration: String?
  @Option(help: "RoPE arithmetic of a checkpoint that does not say: bf16 (as MedDINOv3) or f32.", completion: .list(["bf16", "f32"]))
  var rope: String?

  func options() throws -> ModelOptions {
    var options = ModelOptions()
    if let folds { options.folds = try integers(folds, "--folds") }
    options.checkpoint = checkpoint
    options.configuration = configuration
    if let rope {
      guard let precision = Precision(named: rope) else { throw MedDINOError.invalid("--rope is \"\(rope)\", expected bf16 or f32") }
      options.encoder.ropePrecision = precision == .bfloat16 ? .bfloat16 : .float32
    }
    return options
  }
}

func parsePrecision(_ text: String?) throws -> Precision {
  guard let text else { return .float32 }
  guard let precision = Precision(named: text) else { throw MedDINOError.invalid("--precision is \"\(text)\", expected f32 or bf16") }
  return precision
}

/// Refuses outputs that would be lost or fail after the work: a wrong ending, a folder that is not there, one path for two files, an
/// input's path. Throws: `.invalid`, `.io` naming the option.
func checkOutputs(_ outputs: [(option: String, path: String?, endings: [String])], inputs: [String]) throws {
  var seen: [String] = []
  for (option, path, endings) in outputs {
    guard let path else { continue }
    guard endings.contains(where: { path.hasSuffix($0) }) else {
      throw MedDINOError.invalid("\(option) is \"\(path)\", expected a name ending in \(endings.joined(separator: " or "))")
    }
    let folder = folderPath(of: path)
    guard FileKind.of(folder) == .directory else {
      throw MedDINOError.io("\(option) \(path): cannot be written, the folder \(folder) does not exist")
    }
    guard !inputs.contains(where: { isSameFile($0, path) }) else {
      throw MedDINOError.invalid("\(option) is \"\(path)\", which is an input of this command")
    }
    guard !seen.contains(where: { isSameFile($0, path) }) else {
      throw MedDINOError.invalid("\(option) is \"\(path)\", which another output of this command has already")
    }
    seen.append(path)
  }
}

/// "1,2,3" as numbers. Throws: `.invalid` naming the option.
func integers(_ text: String, _ option: String) throws -> [Int] {
  let parts = text.split(separator: ",", omittingEmptySubsequences: false)
  let numbers = parts.compactMap { Int($0.trimmed) }
  guard numbers.count == parts.count else { throw MedDINOError.invalid("\(option) is \"\(text)\", expected whole numbers with commas") }
  return numbers
}

extension StringProtocol {
  var trimmed: String {
    var text = Substring(self)
    while text.first == " " { text.removeFirst() }
    while text.last == " " { text.removeLast() }
    return String(text)
  }
  func padded(_ width: Int) -> String { String(self) + String(repeating: " ", count: Swift.max(0, width - count)) }
  func leftPadded(_ width: Int) -> String { String(repeating: " ", count: Swift.max(0, width - count)) + String(self) }
}
