public import FineTuning
internal import Imaging
public import Platform
internal import Segmentation
internal import Tensors
internal import WeightFiles

/// What a run is worth on whole volumes: the cases that its fold left out, segmented from their image files and compared with their labels.
///
/// Into `<run>/validation` go the label maps, nnU-Net's `summary.json`, MedDINOv3's `metrics.csv`, and `validation.json`, which says how
/// they were made. Source: pipeline specification 9 (validation after training), 11.
public struct FoldValidation: Sendable {
  /// Which of the run's models is validated.
  public enum Choice: String, Sendable, CaseIterable {
    /// That of the best moving Dice, as the official fork does.
    case best
    /// That of the end, as nnU-Net does.
    case final
  }
  public struct Options: Sendable {
    /// nil: the best where there is one (a run without validation batches has none), else the final.
    public var choice: Choice?
    /// The raw dataset with the images; nil: where the dataset was when it was planned.
    public var raw: String?
    /// Mirroring is the model's unless `run.mirrorAxes` says otherwise.
    public var run = RunOptions()
    /// Also NSD and HD95.
    public var measuresSurfaces = true
    public init() {}
  }
  public let folder: String
  /// File name of the model in the run's folder.
  public let model: String
  public let fold: DatasetSplits.Fold
  public let evaluation: Evaluation

  static let folderName = "validation"
  static let recordName = "validation.json"

  /// Segments and compares the cases of the run's fold.
  ///
  /// `run`: the run's folder. Earlier results of the run are replaced.
  /// Throws: `.state` for a dataset in memory, `.invalid` when the model, the images or the fold's cases are not there, and what reading,
  /// segmenting and comparing throw, with the case's name first; `.cancelled`.
  public static func run(
    _ run: String, dataset: TrainingDataset, options: Options = Options(), context: Context, control: RunControl = RunControl()
  ) throws(MedDINOError) -> FoldValidation {
    let validation = try FoldValidation.Plan(run, dataset, options)
    let model = try Model.open(run + "/" + validation.model, context: context)
    if let own = model.task?.configuration.name, own != dataset.configuration.name {
      throw .invalid("\(run)/\(validation.model) has the configuration \"\(own)\", the dataset \"\(dataset.configuration.name)\"")
    }
    guard model.task?.scheme == dataset.scheme else {
      throw .invalid("\(run)/\(validation.model) has other labels than the dataset")
    }
    let folder = run + "/" + folderName
    try makeFolder(folder)
    var pairs: [CasePair] = []
    for (index, files) in validation.cases.enumerated() {
      let part = 0.85 / Double(validation.cases.count)
      let name = files.identifier + dataset.description.fileEnding
      let pair = CasePair(name: name, prediction: folder + "/" + name, reference: validation.prepared.groundTruth(files.identifier))
      do throws(MedDINOError) {
        try segment(
          files, validation.reader, model, options.run, to: pair.prediction, control.span(part * Double(index), part * Double(index + 1)))
      } catch { throw error.kind == .cancelled ? error : error.within("case \(files.identifier)") }
      pairs.append(pair)
    }
    var comparison = try EvaluationOptions(dataset.description)
    comparison.measuresSurfaces = options.measuresSurfaces
    let evaluation = try Evaluation.run(pairs, options: comparison, context: context, control: control.span(0.85, 1))
    let result = FoldValidation(folder: folder, model: validation.model, fold: validation.fold, evaluation: evaluation)
    try result.write(dataset, validation.prepared, validation.cases.map(\.identifier))
    return result
  }

  /// The configuration of the plan that the model of a run has which `run` validates. Throws: `.invalid` for a folder without a run or
  /// model, `.io`, `.format`.
  public static func configuration(of run: String, options: Options = Options()) throws(MedDINOError) -> String {
    let path = run + "/" + (try Plan.model(run, options))
    guard let name = try SafeTensorsFile(InputFile(path)).metadata["configuration"] else {
      throw .format("\(path): metadata \"configuration\" is missing")
    }
    return name
  }

  /// Finds out before a long run whether `run` will have its images. Throws: `.invalid`, `.io`, `.format`, `.state`.
  public static func check(
    _ dataset: TrainingDataset, fold: DatasetSplits.Fold, options: Options = Options()
  ) throws(MedDINOError) {
    try EvaluationOptions(dataset.description).check()
    _ = try Plan.cases(dataset, fold, options)
  }

  private static func segment(
    _ files: RawDataset.Case, _ reader: VolumeFile.Reader, _ model: Model, _ options: RunOptions, to path: String, _ control: RunControl
  ) throws(MedDINOError) {
    let budget = MemoryBudget(limit: options.maxBytes, parent: model.context.budget)
    var images: [VolumeFile.Image] = []
    for image in files.images { images.append(try VolumeFile.readImage(image, reader: reader, in: budget, control: control.still(at: 0))) }
    guard let first = images.first, let task = model.task else { throw .invalid("no image, expected one file per channel") }
    var labels = try Volume(
      allocating: task.scheme.largestOutput > 255 ? .uint16 : .uint8, geometry: first.volume.geometry, in: budget, "labels")
    labels.isPlane = first.volume.isPlane
    _ = try model.segment(images.map(\.volume), labels: labels, options: options, control: control)
    try VolumeFile.write(first.inFileOrder(labels), to: path, control: control.still(at: 1))
  }

  private func write(_ dataset: TrainingDataset, _ prepared: PreparedDataset, _ cases: [String]) throws(MedDINOError) {
    func put(_ text: String, _ name: String) throws(MedDINOError) { try AtomicFile.write(Array(text.utf8), to: folder + "/" + name) }
    try put(evaluation.summary.text(indent: 4), "summary.json")
    try put(evaluation.metricsCSV, "metrics.csv")
    let record = JSON.object(
      ("dataset", .string(try absolutePath(prepared.folder))), ("configuration", .string(dataset.configuration.name)),
      ("fold", .string(fold.description)), ("model", .string(model)), ("cases", .array(cases.map(JSON.string))))
    try put(record.text(indent: 2) + "\n", Self.recordName)
  }
}

extension FoldValidation {
  /// What there is to do.
  private struct Plan {
    let fold: DatasetSplits.Fold
    let model: String
    let prepared: PreparedDataset
    let reader: VolumeFile.Reader
    let cases: [RawDataset.Case]

    init(_ run: String, _ dataset: TrainingDataset, _ options: Options) throws(MedDINOError) {
      model = try Self.model(run, options)
      fold = try RunSettings(String(decoding: try InputFile.contents(run + "/settings.json"), as: UTF8.self)).fold
      (prepared, reader, cases) = try Self.cases(dataset, fold, options)
    }

    /// File name of the model that is validated.
    static func model(_ run: String, _ options: Options) throws(MedDINOError) -> String {
      guard FileKind.of(run + "/settings.json") == .regular else {
        throw .invalid("\(run): no settings.json, expected the folder of a run")
      }
      let wanted = options.choice.map { [$0] } ?? [.best, .final]
      let names = wanted.map { "model_\($0.rawValue).safetensors" }
      guard let name = names.first(where: { FileKind.of(run + "/" + $0) == .regular }) else {
        throw .invalid("\(run) has no \(names.joined(separator: " or ")): the run has not made it yet")
      }
      return name
    }

    static func cases(
      _ dataset: TrainingDataset, _ fold: DatasetSplits.Fold, _ options: Options
    ) throws(MedDINOError) -> (PreparedDataset, VolumeFile.Reader, [RawDataset.Case]) {
      guard let prepared = dataset.folder else {
        throw .state("the dataset is in memory, whole volumes are validated from a folder's files")
      }
      let recorded = options.raw == nil ? try prepared.rawFolder() : nil
      guard let folder = options.raw ?? recorded else {
        throw .invalid("\(prepared.folder) does not say where its raw images are: plan it again, or name the raw dataset (--raw)")
      }
      guard FileKind.of(folder) == .directory else {
        throw .invalid("raw dataset \(folder): no such folder; name it where it is now (--raw)")
      }
      let raw = try RawDataset(folder)
      let files = Dictionary(raw.cases.map { ($0.identifier, $0) }, uniquingKeysWith: { first, _ in first })
      var cases: [RawDataset.Case] = []
      for identifier in try dataset.split(fold).validation.map(\.identifier) {
        guard let found = files[identifier] else { throw .invalid("raw dataset \(folder): no images of the case \(identifier)") }
        // One file may hold all channels.
        let channels = dataset.description.channelNames.count
        guard [1, channels].contains(found.images.count) else {
          throw .invalid(
            "raw dataset \(folder): \(found.images.count) images of \(identifier), expected \(channels) or one with all channels")
        }
        for path in found.images + [prepared.groundTruth(identifier)] where FileKind.of(path) != .regular {
          throw .io("\(path): missing, expected a file of the case \(identifier)")
        }
        cases.append(found)
      }
      guard !cases.isEmpty else { throw .invalid("fold \(fold) has no validation cases") }
      return (prepared, raw.reader, cases)
    }
  }
}

extension Trainer {
  /// Whole-volume validation of the run that this trainer's folder holds; see `FoldValidation.run`.
  ///
  /// The models are those that the run has written so far. Throws: `.state` without a folder, and what `FoldValidation.run` throws.
  public func validateVolumes(
    _ dataset: TrainingDataset, options: FoldValidation.Options = FoldValidation.Options(), control: RunControl = RunControl()
  ) throws(MedDINOError) -> FoldValidation {
    try exclusively { () throws(MedDINOError) in
      guard let folder else { throw .state("the run has no folder, expected one in \"output\"") }
      return try FoldValidation.run(folder.path, dataset: dataset, options: options, context: context, control: control)
    }
  }
}
