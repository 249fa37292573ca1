internal import Platform

/// KiTS23: `dataset/case_00000/imaging.nii.gz` and `segmentation.nii.gz`. Source: pipeline specification 12.
extension BenchmarkScan {
  static func kits23(_ source: String) throws(MedDINOError) -> BenchmarkScan {
    var scan = BenchmarkScan(labels: .kits23)
    var missing = MissingFiles()
    var images = 0
    for root in [source + "/dataset", source] where FileKind.of(root) == .directory && scan.cases.isEmpty {
      for name in try folderEntries(root) {
        let folder = root + "/" + name
        guard NumberedFiles.number(name, after: "case_") != nil, FileKind.of(folder) == .directory else { continue }
        if FileKind.of(folder + "/imaging.nii.gz") == .regular { images += 1 }
        let image = missing.require(folder + "/imaging.nii.gz")
        let label = missing.require(folder + "/segmentation.nii.gz")
        scan.cases.append(BenchmarkCase(name: name, part: .training, image: image, label: label))
      }
    }
    guard !scan.cases.isEmpty else {
      throw .invalid("\(source): no folder case_00000 in it or in its dataset folder, expected the KiTS23 repository")
    }
    guard images > 0 else {
      throw .invalid(
        "\(source): \(scan.cases.count) cases without an imaging.nii.gz; the images of KiTS23 are fetched by its download script")
    }
    try missing.check(source)
    return scan
  }
}
