internal import Platform
internal import WeightFiles

/// The published volumes found in a folder, every pair complete.
struct BenchmarkScan {
  var cases: [BenchmarkCase] = []
  var labels: BenchmarkLabels
  var leftOut = 0

  /// Throws: `.invalid` when the folder has not the published layout or a file of a pair is missing, `.format`, `.io`.
  static func find(_ benchmark: Benchmark, in source: String, regions: Bool) throws(MedDINOError) -> BenchmarkScan {
    guard FileKind.of(source) == .directory else { throw .io("\(source): no such folder") }
    if regions, benchmark != .lits { throw .invalid("regions is a choice of lits only; \(benchmark.rawValue) has fixed labels") }
    var scan =
      switch benchmark {
      case .amos22: try amos22(source)
      case .btcv: try btcv(source)
      case .kits23: try kits23(source)
      case .lits: try lits(source, regions: regions)
      }
    scan.cases.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    for (one, next) in zip(scan.cases, scan.cases.dropFirst()) where one.name == next.name {
      throw .invalid("\(source): case \(one.name) is there twice: \(one.image) and \(next.image)")
    }
    guard scan.cases.contains(where: { $0.part != .test }) else { throw .invalid("\(source): no labelled case of \(benchmark.title)") }
    return scan
  }
}

/// Collects what a published layout should hold and does not, so that one message names it all.
struct MissingFiles {
  private var paths: [String] = []

  /// The path itself; notes it when there is no such file.
  mutating func require(_ path: String) -> String {
    if FileKind.of(path) != .regular { paths.append(path) }
    return path
  }
  mutating func add(_ path: String) { paths.append(path) }

  /// Throws: `.invalid` naming up to five files.
  func check(_ source: String) throws(MedDINOError) {
    guard !paths.isEmpty else { return }
    let named = paths.prefix(5).joined(separator: ", ") + (paths.count > 5 ? " and \(paths.count - 5) more" : "")
    throw .invalid("\(source): \(paths.count) file\(paths.count == 1 ? " is" : "s are") missing: \(named)")
  }
}

/// NIfTI files of a folder by the number in their name.
struct NumberedFiles {
  private(set) var paths: [Int: String] = [:]
  private(set) var stems: [Int: String] = [:]
  var numbers: [Int] { paths.keys.sorted() }

  init() {}

  /// Adds `<prefix><digits>.nii[.gz]` of `folder`. Hidden files and names that start with "_" or another prefix are passed over.
  /// Throws: `.invalid` when a number comes twice, `.io`.
  mutating func add(_ folder: String, prefix: String) throws(MedDINOError) {
    for name in try folderEntries(folder) {
      guard let stem = NumberedFiles.stem(name), let number = NumberedFiles.number(stem, after: prefix) else { continue }
      let path = folder + "/" + name
      if let other = paths[number] { throw .invalid("\(path): number \(number) is there twice, also as \(other)") }
      paths[number] = path
      stems[number] = stem
    }
  }

  /// The name without `.nii` or `.nii.gz`; nil for other files.
  static func stem(_ name: String) -> String? {
    guard !name.hasPrefix("."), !name.hasPrefix("_") else { return nil }
    for ending in [".nii.gz", ".nii"] where name.hasSuffix(ending) { return String(name.dropLast(ending.count)) }
    return nil
  }

  /// The digits that follow `prefix` and end the stem.
  static func number(_ stem: String, after prefix: String) -> Int? {
    guard stem.hasPrefix(prefix) else { return nil }
    let digits = stem.dropFirst(prefix.count)
    guard !digits.isEmpty, digits.count <= 9, digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return Int(digits)
  }
}

extension BenchmarkScan {
  /// The first of `folders` below `source` that exists; "" is `source` itself.
  static func folder(_ source: String, _ folders: [String]) -> String? {
    folders.map { $0.isEmpty ? source : source + "/" + $0 }.first { FileKind.of($0) == .directory }
  }

  /// Training pairs by number. An image without label and a label without image are both faults.
  static func pairs(
    _ images: NumberedFiles, _ labels: NumberedFiles, _ missing: inout MissingFiles, expected: (Int) -> (image: String, label: String),
    name: (Int) -> String
  ) -> [BenchmarkCase] {
    var cases: [BenchmarkCase] = []
    for number in Set(images.numbers + labels.numbers).sorted() {
      switch (images.paths[number], labels.paths[number]) {
      case (let image?, let label?): cases.append(BenchmarkCase(name: name(number), part: .training, image: image, label: label))
      case (nil, _): missing.add(expected(number).image)
      case (_, nil): missing.add(expected(number).label)
      }
    }
    return cases
  }
}
