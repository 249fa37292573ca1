public import Platform
public import Segmentation
public import WeightFiles

/// A preprocessed dataset folder: what planning and preprocessing left for training.
///
/// `dataset.json`, `dataset_fingerprint.json`, `nnUNetPlans.json`, `splits_final.json`, `gt_segmentations/<case><ending>`, and of ours
/// `raw_dataset.json`; and
/// `<data identifier>/<case>.safetensors`. Source: pipeline specification 1.5.
public struct PreparedDataset: Sendable {
  public static let descriptionName = "dataset.json"
  public static let fingerprintName = "dataset_fingerprint.json"
  public static let splitsName = "splits_final.json"
  public static let groundTruthName = "gt_segmentations"
  /// Says where the raw dataset was when it was planned.
  public static let rawName = "raw_dataset.json"

  public let folder: String
  /// "Dataset007_Organs".
  public let name: String
  public let description: DatasetDescription
  public let scheme: LabelScheme
  public let plan: Plan
  /// The files as they are, for the model that training makes.
  public let plansJSON: JSON
  public let descriptionJSON: JSON
  public let fingerprint: DatasetFingerprint

  /// Throws: `.io` for what is missing, `.format` for what is damaged, naming the file.
  public init(_ folder: String) throws(MedDINOError) {
    var folder = folder
    while folder.count > 1, folder.hasSuffix("/") { folder.removeLast() }
    guard FileKind.of(folder) == .directory else { throw .io("prepared dataset \(folder): no such folder") }
    self.folder = folder
    name = fileName(folder)
    descriptionJSON = try Self.read(folder, Self.descriptionName)
    plansJSON = try Self.read(folder, PlansDocument.fileName)
    do { description = try DatasetDescription(descriptionJSON) } catch { throw error.within("\(folder)/\(Self.descriptionName)") }
    do { plan = try Plan(plansJSON) } catch { throw error.within("\(folder)/\(PlansDocument.fileName)") }
    scheme = try LabelScheme(description)
    fingerprint = try DatasetFingerprint(file: folder + "/" + Self.fingerprintName)
  }

  private static func read(_ folder: String, _ name: String) throws(MedDINOError) -> JSON {
    let path = folder + "/" + name
    guard FileKind.of(path) == .regular else { throw .io("\(path): missing, the dataset has not been planned") }
    return try JSON.parse(InputFile.contents(path), source: path)
  }

  /// Throws: `.invalid` for an unknown configuration, `.unsupported` for one that is not two-dimensional.
  public func store(_ configuration: String? = nil) throws(MedDINOError) -> PreprocessedStore {
    let found = try plan.configuration(configuration)
    guard !found.dataIdentifier.isEmpty, !found.dataIdentifier.contains("/"), !found.dataIdentifier.hasPrefix(".") else {
      throw .format("configuration \"\(found.name)\": data_identifier is \"\(found.dataIdentifier)\", expected a folder name")
    }
    return PreprocessedStore(folder: folder + "/" + found.dataIdentifier, configuration: found, scheme: scheme)
  }

  /// The folder of the raw dataset when it was planned; nil where that is not known (a folder that nnU-Net made).
  /// Throws: `.io`, `.format`.
  public func rawFolder() throws(MedDINOError) -> String? {
    let path = folder + "/" + Self.rawName
    guard FileKind.of(path) == .regular else { return nil }
    guard let found = try JSON.parse(InputFile.contents(path), source: path)["folder"]?.stringValue, !found.isEmpty else {
      throw .format("\(path): folder is missing")
    }
    return found
  }

  /// The labels of a case on the grid of its file.
  public func groundTruth(_ identifier: String) -> String {
    "\(folder)/\(Self.groundTruthName)/\(identifier)\(description.fileEnding)"
  }

  /// What `splits_final.json` says, else nnU-Net's folds of `cases`. Throws: `.io`, `.format`, `.invalid`.
  public func splits(cases: [String]) throws(MedDINOError) -> DatasetSplits {
    let path = folder + "/" + Self.splitsName
    return FileKind.of(path) == .regular ? try DatasetSplits(file: path) : try DatasetSplits(cases: cases)
  }
}
