internal import Platform
internal import WeightFiles

/// AMOS22: `dataset.json` with three lists; `imagesTr`, `labelsTr`, `imagesVa`, `labelsVa`, `imagesTs`. CT and MR share the lists and
/// are told apart by the case number. Source: pipeline specification 12.
extension BenchmarkScan {
  private struct List {
    let key: String
    let part: BenchmarkCase.Part
    let images: String
    let labels: String?
    /// Largest case number of a CT.
    let lastCT: Int
  }
  private static let lists = [
    List(key: "training", part: .training, images: "imagesTr", labels: "labelsTr", lastCT: 410),
    List(key: "validation", part: .validation, images: "imagesVa", labels: "labelsVa", lastCT: 409),
    List(key: "test", part: .test, images: "imagesTs", labels: nil, lastCT: 500),
  ]

  static func amos22(_ source: String) throws(MedDINOError) -> BenchmarkScan {
    guard let root = folder(source, ["", "amos22"].filter { FileKind.of(source + "/" + $0 + "/dataset.json") == .regular }) else {
      throw .invalid("\(source): dataset.json is missing, expected the AMOS22 folder (dataset.json, imagesTr, labelsTr, imagesVa, …)")
    }
    let path = root + "/dataset.json"
    let json = try JSON.parse(try InputFile.contents(path, limit: 16 << 20), source: path)
    var scan = BenchmarkScan(labels: try amosLabels(json["labels"], path))
    var missing = MissingFiles()
    for list in lists {
      // The test images are a separate wish: a copy without them is complete for training.
      if list.part == .test, FileKind.of(root + "/" + list.images) == .missing { continue }
      for stem in try amosNames(json, list.key, path) {
        guard let number = NumberedFiles.number(stem, after: "amos_") else {
          throw .format("\(path): \(list.key) lists \"\(stem)\", expected names like amos_0001.nii.gz")
        }
        guard number <= list.lastCT else {
          scan.leftOut += 1
          continue
        }
        let image = missing.require("\(root)/\(list.images)/\(stem).nii.gz")
        let label = list.labels.map { missing.require("\(root)/\($0)/\(stem).nii.gz") }
        scan.cases.append(BenchmarkCase(name: stem, part: list.part, image: image, label: label))
      }
    }
    try missing.check(source)
    return scan
  }

  /// File stems of one list; an entry is a path or an object with an `image`.
  private static func amosNames(_ json: JSON, _ key: String, _ path: String) throws(MedDINOError) -> [String] {
    guard let entries = json[key]?.arrayValue else { throw .format("\(path): \(key) is missing or not a list") }
    var stems: [String] = []
    for entry in entries {
      guard let text = entry.stringValue ?? entry["image"]?.stringValue, let name = text.split(separator: "/").last,
        name.hasSuffix(".nii.gz")
      else { throw .format("\(path): \(key) holds \(entry.text()), expected an image path") }
      stems.append(String(name.dropLast(7)))
    }
    return stems
  }

  /// Value-to-name entries in the order of the values.
  private static func amosLabels(_ json: JSON?, _ path: String) throws(MedDINOError) -> BenchmarkLabels {
    var names: [Int: String] = [:]
    for (key, value) in json?.objectValue?.entries ?? [] {
      guard let number = Int(key), let name = value.stringValue else {
        throw .format("\(path): labels holds \"\(key)\": \(value.text()), expected names by value such as \"1\": \"spleen\"")
      }
      names[number] = name
    }
    guard names.keys.sorted() == Array(0...15), names[0] == "background", Set(names.values).count == 16 else {
      throw .format("\(path): labels has the values \(names.keys.sorted()), expected background 0 and fifteen different organs 1 to 15")
    }
    return BenchmarkLabels(names.sorted { $0.key < $1.key }.map { .init($0.value, $0.key) })
  }
}
