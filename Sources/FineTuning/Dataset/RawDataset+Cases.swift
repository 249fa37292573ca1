internal import Imaging
public import Platform
internal import WeightFiles

extension RawDataset {
  /// Cases by file names: `imagesTr/<case>_<four digits><ending>`, `labelsTr/<case><ending>`.
  static func scan(_ folder: String, _ ending: String) throws(MedDINOError) -> [Case] {
    let images = folder + "/imagesTr"
    guard FileKind.of(images) == .directory else { throw .io("\(images): no such folder, expected the training images there") }
    let tail = ending.utf8.count + 5
    var channels: [String: [String]] = [:]
    for file in try folderEntries(images) where file.hasSuffix(ending) && file.utf8.count > tail {
      let identifier = String(decoding: file.utf8.dropLast(tail), as: UTF8.self)
      // A name without a channel number still makes a case, one without channels, which the survey then reports.
      let number = file.utf8.dropLast(ending.utf8.count).suffix(5)
      let isChannel = number.first == UInt8(ascii: "_") && number.dropFirst().allSatisfy { (48...57).contains($0) }
      channels[identifier, default: []] += isChannel ? [images + "/" + file] : []
    }
    return sorted(
      channels.map { Case(identifier: $0.key, images: $0.value, label: "\(folder)/labelsTr/\($0.key)\(ending)") })
  }

  /// Cases as the key `dataset` lists them; relative paths start at the dataset's folder.
  static func cases(listed: JSON, _ folder: String, _ source: String) throws(MedDINOError) -> [Case] {
    guard let entries = listed.objectValue?.entries else { throw .format("\(source): dataset is not an object by case") }
    var cases: [Case] = []
    for (identifier, entry) in entries {
      guard !identifier.isEmpty, !identifier.utf8.contains(0), !identifier.contains("/") else {
        throw .format("\(source): dataset: \"\(identifier)\" is no case identifier, expected a name without \"/\"")
      }
      let images = entry["images"]?.arrayValue ?? []
      let paths = images.compactMap(\.stringValue)
      guard let label = entry["label"]?.stringValue, !paths.isEmpty, paths.count == images.count else {
        throw .format("\(source): dataset: case \(identifier) needs \"images\", a list of paths, and \"label\", a path")
      }
      func absolute(_ path: String) -> String { path.hasPrefix("/") ? path : folder + "/" + path }
      cases.append(Case(identifier: identifier, images: paths.map(absolute), label: absolute(label)))
    }
    return sorted(cases)
  }

  private static func sorted(_ cases: [Case]) -> [Case] {
    cases.sorted { $0.identifier.utf8.lexicographicallyPrecedes($1.identifier.utf8) }
  }

  /// The folder of a dataset given by number ("7") or name ("Dataset007_Organs").
  ///
  /// `raw` is where it has to lie; a number is looked for in `others` too, because it has to stand for one name.
  /// Throws: `.invalid` when there is no such dataset or a number stands for several.
  public static func locate(_ reference: String, raw: String, others: [String] = []) throws(MedDINOError) -> String {
    var name = reference
    if let number = Int(reference) {
      guard (0...999).contains(number) else { throw .invalid("dataset number is \(number), expected 0 to 999") }
      let digits = String(number)
      let prefix = "Dataset" + String(repeating: "0", count: 3 - digits.count) + digits + "_"
      var names: Set<String> = []
      for folder in [raw] + others where FileKind.of(folder) == .directory {
        names.formUnion(try folderEntries(folder).filter { $0.hasPrefix(prefix) })
      }
      guard names.count == 1, let found = names.first else {
        let list = names.sorted().joined(separator: ", ")
        throw .invalid("dataset \(number): \(names.isEmpty ? "no folder \(prefix)… in \(raw)" : "several names: \(list)"), expected one")
      }
      name = found
    }
    let path = raw + "/" + name
    guard !name.isEmpty, FileKind.of(path) == .directory else { throw .invalid("dataset \"\(reference)\": no folder \(path)") }
    return path
  }
}
