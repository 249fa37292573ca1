public import Imaging
public import Platform
public import Segmentation
internal import WeightFiles

/// A raw dataset folder in nnU-Net's layout: what `dataset.json` says and which files belong to which training case.
///
/// Opening it reads `dataset.json` and lists folders; no image is read (`DatasetSurvey` does).
/// Source: pipeline specification 1.2, 1.3.
public struct RawDataset: Sendable {
  /// The files of one training case. They need not exist yet: the survey reports those that do not.
  public struct Case: Equatable, Sendable {
    public let identifier: String
    /// In channel order.
    public let images: [String]
    public let label: String
  }
  public let folder: String
  /// "Dataset007_Organs": the last part of the folder's path.
  public let name: String
  public let description: DatasetDescription
  public let scheme: LabelScheme
  public let reader: VolumeFile.Reader
  /// Sorted by identifier, code point by code point.
  public let cases: [Case]
  /// The text of `dataset.json`.
  let descriptionText: [UInt8]
  /// Keys that nnU-Net demands and `dataset.json` lacks.
  let missingKeys: [String]
  /// Label files that belong to no training case.
  let strayLabels: [String]

  /// Throws: `.io` when the folder or `dataset.json` cannot be read, `.format` naming the key that breaks a rule,
  /// `.unsupported` for a file format or reader that we do not have.
  public init(_ path: String) throws(MedDINOError) {
    var folder = path
    while folder.count > 1, folder.hasSuffix("/") { folder.removeLast() }
    guard FileKind.of(folder) == .directory else { throw .io("dataset \(path): no such folder") }
    let source = folder + "/dataset.json"
    guard FileKind.of(source) == .regular else { throw .io("\(source): missing, expected in every dataset folder") }
    let text = try InputFile.contents(source)
    let json = try JSON.parse(text, source: source)
    let description: DatasetDescription
    do { description = try DatasetDescription(json) } catch { throw error.within(source) }
    self.folder = folder
    name = fileName(folder)
    self.description = description
    scheme = try LabelScheme(description)
    descriptionText = text
    missingKeys = Self.missingKeys(json)
    reader = try Self.reader(description, source)
    if let listed = json["dataset"], !listed.isNull {
      cases = try Self.cases(listed: listed, folder, source)
      strayLabels = []
    } else {
      cases = try Self.scan(folder, description.fileEnding)
      let labels = folder + "/labelsTr"
      let known = Set(cases.map { $0.identifier + description.fileEnding })
      let found = FileKind.of(labels) == .directory ? try folderEntries(labels) : []
      strayLabels = found.filter { $0.hasSuffix(description.fileEnding) && !known.contains($0) }
    }
  }

  private static func missingKeys(_ json: JSON) -> [String] {
    var missing = ["labels", "numTraining", "file_ending"].filter { json[$0] == nil }
    if json["channel_names"] == nil, json["modality"] == nil { missing.insert("channel_names", at: 0) }
    return missing
  }

  private static func reader(_ description: DatasetDescription, _ source: String) throws(MedDINOError) -> VolumeFile.Reader {
    let endings = VolumeFile.singleFileEndings
    guard endings.contains(description.fileEnding) else {
      throw .unsupported("\(source): file_ending is \"\(description.fileEnding)\", expected \(VolumeFile.words(endings))")
    }
    guard let name = description.readerOverride else { return .simpleITK }
    guard let reader = VolumeFile.Reader(rawValue: name) else {
      let known = VolumeFile.Reader.allCases.map(\.rawValue).joined(separator: ", ")
      throw .unsupported("\(source): overwrite_image_reader_writer is \"\(name)\", expected one of \(known)")
    }
    return reader
  }
}
