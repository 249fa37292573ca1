internal import Platform

/// LiTS: `volume-0.nii` and `segmentation-0.nii`, in "Training Batch 1" and "Training Batch 2" or any folders below the source. Or the
/// same cases as MSD Task03: `imagesTr/liver_0.nii.gz`, `labelsTr/liver_0.nii.gz`. Both get the names `liver_0`, so that folds, which
/// follow from the sorted names, agree. Source: pipeline specification 12.
extension BenchmarkScan {
  static func lits(_ source: String, regions: Bool) throws(MedDINOError) -> BenchmarkScan {
    var scan = BenchmarkScan(labels: regions ? .litsRegions : .lits)
    if let root = folder(source, ["", "Task03_Liver"].filter { FileKind.of(source + "/" + $0 + "/imagesTr") == .directory }) {
      try scan.addDecathlon(source, root)
    } else {
      try scan.addChallenge(source)
    }
    return scan
  }

  private mutating func addDecathlon(_ source: String, _ root: String) throws(MedDINOError) {
    let labels = root + "/labelsTr"
    guard FileKind.of(labels) == .directory else { throw .invalid("\(labels): the folder with the labels is missing") }
    var (images, truths, hidden) = (NumberedFiles(), NumberedFiles(), NumberedFiles())
    try images.add(root + "/imagesTr", prefix: "liver_")
    try truths.add(labels, prefix: "liver_")
    if FileKind.of(root + "/imagesTs") == .directory { try hidden.add(root + "/imagesTs", prefix: "liver_") }
    var missing = MissingFiles()
    cases = Self.pairs(images, truths, &missing) { number in
      ("\(root)/imagesTr/liver_\(number).nii.gz", "\(labels)/liver_\(number).nii.gz")
    } name: {
      "liver_\($0)"
    }
    try missing.check(source)
    addTests(hidden) { "liver_\($0)" }
  }

  private mutating func addChallenge(_ source: String) throws(MedDINOError) {
    var (images, truths, hidden) = (NumberedFiles(), NumberedFiles(), NumberedFiles())
    for folder in try Self.folders(below: source) {
      try images.add(folder, prefix: "volume-")
      try truths.add(folder, prefix: "segmentation-")
      try hidden.add(folder, prefix: "test-volume-")
    }
    guard !images.numbers.isEmpty || !truths.numbers.isEmpty else {
      throw .invalid(
        "\(source): neither imagesTr/liver_0.nii.gz nor volume-0.nii is there, expected MSD Task03_Liver or the training batches of LiTS")
    }
    var missing = MissingFiles()
    cases = Self.pairs(images, truths, &missing) { number in
      ("volume-\(number).nii", "segmentation-\(number).nii")
    } name: {
      "liver_\($0)"
    }
    try missing.check(source)
    addTests(hidden) { "test_volume_\($0)" }
  }

  private mutating func addTests(_ files: NumberedFiles, _ name: (Int) -> String) {
    for number in files.numbers {
      guard let image = files.paths[number] else { continue }
      cases.append(BenchmarkCase(name: name(number), part: .test, image: image, label: nil))
    }
  }

  /// `root` and the folders in it, at most eight levels deep: archives of the challenge unpack into several.
  private static func folders(below root: String, depth: Int = 8) throws(MedDINOError) -> [String] {
    var found = [root]
    guard depth > 0 else { return found }
    for name in try folderEntries(root) where !name.hasPrefix(".") && FileKind.of(root + "/" + name) == .directory {
      found += try folders(below: root + "/" + name, depth: depth - 1)
    }
    return found
  }
}
