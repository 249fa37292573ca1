import Imaging
import MedDINO
import Platform
import Reports
import Segmentation
import Tensors

/// Puts a segmentation on a page for people.
struct SegmentationReportPage {
  let model: Model
  let modelPath: String
  /// As `--folds` has them.
  let folds: String?
  /// One per input channel, or one that brings several.
  let imagePaths: [String]
  /// The first of them, and the labels in its axis order.
  let image: VolumeFile.Image
  let labels: Volume
  let labelPath: String
  let options: RunOptions
  let found: SegmentationReport
  let seconds: Double

  /// The progress stage is "report". Throws: what the survey and its pictures throw, `.io`.
  func write(to path: String, context: Context, control: RunControl) throws {
    try control.begin("report", from: 1, to: 1)
    // Axes and voxel numbers are those of the file that people open beside the page.
    let (shown, result) = (image.inFileOrder(image.volume), image.inFileOrder(labels))
    let survey = try LabelSurvey(result, pool: context.pool, in: context.budget, control: control.still(at: 1))
    var picturing = OverlaySheet.Options()
    picturing.maximumSlices = 6
    picturing.sliceSize = 480
    picturing.window = model.greyWindow(shown)
    var page = SegmentationPage()
    page.title = "Segmentation of \(imagePaths.first.map(fileName) ?? "")"
    page.subtitle = "\(fileName(modelPath)), \(utcNow())"
    page.duration = duration
    page.structures = structures(survey)
    page.warnings = ownWarnings + found.warnings
    page.pictures = try survey.pictures(
      of: shown, legend: model.legend, options: picturing, in: context.budget, control: control.still(at: 1))
    page.details = [
      .init(title: "Image", entries: imageEntries(shown, picturing.window)), .init(title: "Model", entries: try modelEntries()),
      .init(title: "Settings of the run", entries: runEntries(context)),
    ]
    try page.write(to: path)
  }

  private var duration: String { seconds < 60 ? DecimalText.fixed(seconds, digits: 1) + " s" : Terminal.duration(seconds) }

  /// The labels that were asked for.
  private func structures(_ survey: LabelSurvey) -> [SegmentationPage.Structure] {
    let labels = Dictionary(survey.labels.map { ($0.value, $0) }, uniquingKeysWith: { first, _ in first })
    let wanted = Set(found.labels.map(\.value))
    return model.labels.filter { $0.value != 0 && wanted.contains($0.value) }.map { label in
      .init(
        value: label.value, name: label.name, code: label.code.map { "\(label.codingScheme ?? "") \($0)" } ?? "",
        colour: Colour(label.red, label.green, label.blue, label.alpha), found: labels[label.value])
    }
  }

  private var ownWarnings: [String] {
    var list: [String] = []
    if model.hasRandomWeights { list.append("the model's weights are random, it was never trained: the labels mean nothing") }
    if options.segmentation.regionOfInterest != nil { list.append("only a region of the image was segmented: labels may end at its sides") }
    if image.volume.isPlane { list.append("the image is two-dimensional: its labels have an area, but no volume") }
    return list
  }

  private func imageEntries(_ shown: Volume, _ window: (level: Double, width: Double)) -> [(name: String, value: String)] {
    let geometry = shown.geometry
    let axes = shown.isPlane ? 2 : 3
    func list(_ values: [Double], _ digits: Int) -> String {
      values.prefix(axes).map { DecimalText.fixed($0, digits: digits) }.joined(separator: " × ")
    }
    var entries: [(name: String, value: String)] = []
    let channels = model.task?.dataset.channelNames ?? []
    for (index, path) in imagePaths.enumerated() {
      let channel = imagePaths.count == 1 ? channels.joined(separator: ", ") : channels.indices.contains(index) ? channels[index] : ""
      entries.append((imagePaths.count == 1 ? "File" : "Channel \(index)", fileName(path) + (channel.isEmpty ? "" : " (\(channel))")))
    }
    if imagePaths.count > 1 || shown.channels > 1 { entries.append(("Shown in the pictures", "channel 0")) }
    entries.append(("Size", geometry.dims.prefix(axes).map(String.init).joined(separator: " × ") + " voxels of type \(shown.dtype)"))
    entries.append(("Spacing", list(geometry.spacing, 3) + " mm"))
    entries.append(("Extent", list((0..<3).map { Double(geometry.dims[$0]) * geometry.spacing[$0] }, 1) + " mm"))
    entries.append(("Orientation", orientation(geometry)))
    let digits = window.width < 20 ? 2 : 0
    entries.append(
      ("Grey window", "level \(DecimalText.fixed(window.level, digits: digits)), width \(DecimalText.fixed(window.width, digits: digits))"))
    entries.append(("Label map", fileName(labelPath)))
    return entries
  }

  /// "LPS: x runs to left, y to posterior, z to superior".
  private func orientation(_ geometry: Geometry) -> String {
    guard let name = try? geometry.orientation().name else { return "unknown" }
    let words: [Character: String] = [
      "L": "left", "R": "right", "P": "posterior", "A": "anterior", "S": "superior", "I": "inferior",
    ]
    let ways = zip(["x runs to the", "y to the", "z to the"], name).map { "\($0) \(words[$1] ?? "")" }
    return "\(name): " + ways.joined(separator: ", ")
  }

  /// What `info` prints, but for the labels, which have a table of their own.
  private func modelEntries() throws -> [(name: String, value: String)] {
    let description = try ModelDescription(model)
    var entries: [(name: String, value: String)] = [("File", fileName(modelPath)), ("Kind", description.headline)]
    if let name = model.task?.plan.datasetName, !name.isEmpty { entries.append(("Dataset", name)) }
    for (name, value) in description.entries where name != "labels" {
      entries.append((name == "sha256" ? "SHA-256" : name.prefix(1).uppercased() + name.dropFirst(), value))
    }
    return entries
  }

  private func runEntries(_ context: Context) -> [(name: String, value: String)] {
    let axes = options.mirrorAxes ?? model.task?.mirrorAxes ?? []
    let mirrored = axes.sorted().map { $0 == 0 ? "rows" : "columns" }.joined(separator: " and ")
    var members = model.memberCount == 1 ? "one" : "\(model.memberCount), averaged"
    if FileKind.of(modelPath) == .directory { members += ", folds: \(folds ?? "all that there are")" }
    var entries: [(name: String, value: String)] = [
      ("Arithmetic", options.precision.rawValue),
      ("Mirroring", axes.isEmpty ? "none" : "\(mirrored), \(1 << axes.count) results averaged"), ("Networks", members),
    ]
    if let tile = model.task?.configuration.patchSize {
      entries.append(("Tiles", "\(tile[0]) × \(tile[1]) pixels, a new one every \(options.segmentation.tileStep) of a tile"))
    }
    entries.append(("Region", region))
    entries.append(("Labels asked for", options.segmentation.labelSubset == nil ? "all" : found.labels.map(\.name).joined(separator: ", ")))
    entries.append(("Postprocessing", postprocessing))
    entries.append(("Duration", "\(duration) on \(context.pool.width) threads, \(context.device.name) kernels"))
    entries.append(("Made by", "meddino \(Build.version)"))
    return entries
  }

  private var region: String {
    let body = options.segmentation.bodyCrop ? "the box around the body" : "the whole image"
    guard let box = options.segmentation.regionOfInterest else { return body }
    let ranges = zip(["x", "y", "z"], 0..<3).map { "\($0) \(box.lower[$1]) to \(box.upper[$1] - 1)" }
    return "\(body), of it the voxels " + ranges.joined(separator: ", ")
  }

  private var postprocessing: String {
    if options.appliesPostprocessing { return "applied, as the model carries it" }
    return model.metadata["postprocessing"] == nil ? "none" : "not applied, though the model carries one"
  }
}
