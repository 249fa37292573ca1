public import Platform

/// A prediction and its reference on disk.
public struct CasePair: Equatable, Sendable {
  /// File name that both share in folders, such as "case_00.nii.gz".
  public let name: String
  public let prediction: String
  public let reference: String

  public init(name: String, prediction: String, reference: String) {
    self.name = name
    self.prediction = prediction
    self.reference = reference
  }

  /// Two files.
  public init(prediction: String, reference: String) {
    self.init(name: fileName(prediction), prediction: prediction, reference: reference)
  }

  /// The predictions of folders (one, or the validation folders of several folds) with the same-named files of the reference folder,
  /// sorted by name.
  ///
  /// `allowsMissing`: references without a prediction are left out instead of refused.
  /// Throws: `.invalid` naming the case: a prediction without reference, a reference without prediction, one case in two folders, none.
  public static func find(
    predictions folders: [String], reference: String, ending: String = ".nii.gz", allowsMissing: Bool = false
  ) throws(MedDINOError) -> [CasePair] {
    let references = try names(in: reference, ending)
    let known = Set(references)
    var home: [String: String] = [:]
    for folder in folders {
      for name in try names(in: folder, ending) {
        if let other = home[name] { throw .invalid("case \(name) is in \(other) and in \(folder), expected one prediction per case") }
        guard known.contains(name) else { throw .invalid("case \(name): \(folder) holds a prediction, \(reference) has no reference") }
        home[name] = folder
      }
    }
    guard !home.isEmpty else { throw .invalid("\(folders.joined(separator: ", ")): no file ending in \(ending)") }
    if !allowsMissing, let missing = references.first(where: { home[$0] == nil }) {
      let count = references.filter { home[$0] == nil }.count
      throw .invalid(
        "case \(missing)\(count > 1 ? " and \(count - 1) more" : ""): a reference in \(reference) without a prediction in "
          + folders.joined(separator: ", "))
    }
    return references.compactMap { name in
      home[name].map { CasePair(name: name, prediction: $0 + "/" + name, reference: reference + "/" + name) }
    }
  }

  /// Copies the predictions of all pairs into one folder, as nnU-Net's `crossval_results` does, and returns pairs of the copies.
  /// Throws: `.io`, `.cancelled`.
  public static func gather(_ pairs: [CasePair], into folder: String, control: RunControl = RunControl()) throws(MedDINOError) -> [CasePair]
  {
    try makeFolder(folder)
    var result: [CasePair] = []
    for (index, pair) in pairs.enumerated() {
      try control.update(Double(index) / Double(pairs.count))
      let target = folder + "/" + pair.name
      let source = try InputFile(pair.prediction)
      let file = try AtomicFile(target)
      for offset in stride(from: 0, to: source.size, by: 1 << 20) { try file.write(try source.bytes(at: offset, count: 1 << 20)) }
      try file.commit()
      result.append(CasePair(name: pair.name, prediction: target, reference: pair.reference))
    }
    return result
  }

  private static func names(in folder: String, _ ending: String) throws(MedDINOError) -> [String] {
    try folderEntries(folder).filter { $0.hasSuffix(ending) && $0.count > ending.count && FileKind.of(folder + "/" + $0) == .regular }
  }
}
