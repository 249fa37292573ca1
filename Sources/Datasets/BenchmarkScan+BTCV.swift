internal import Platform

/// BTCV: `Training/img/img0001.nii.gz` with `Training/label/label0001.nii.gz`, or the same files in `imagesTr` and `labelsTr`.
/// Source: pipeline specification 12.
extension BenchmarkScan {
  static func btcv(_ source: String) throws(MedDINOError) -> BenchmarkScan {
    let roots = ["", "RawData", "Abdomen/RawData", "Abdomen"].map { $0.isEmpty ? source : source + "/" + $0 }
    let layouts = [("Training/img", "Training/label", "Testing/img"), ("imagesTr", "labelsTr", "imagesTs")]
    for root in roots {
      for (images, labels, tests) in layouts where FileKind.of(root + "/" + images) == .directory {
        return try btcv(source, images: root + "/" + images, labels: root + "/" + labels, tests: root + "/" + tests)
      }
    }
    throw .invalid("\(source): neither Training/img nor imagesTr is there, expected the BTCV folder (Training/img, Training/label)")
  }

  private static func btcv(_ source: String, images: String, labels: String, tests: String) throws(MedDINOError) -> BenchmarkScan {
    guard FileKind.of(labels) == .directory else { throw .invalid("\(labels): the folder with the labels of \(images) is missing") }
    var (pictures, truths, hidden) = (NumberedFiles(), NumberedFiles(), NumberedFiles())
    try pictures.add(images, prefix: "img")
    try truths.add(labels, prefix: "label")
    if truths.numbers.isEmpty { try truths.add(labels, prefix: "img") }
    if FileKind.of(tests) == .directory { try hidden.add(tests, prefix: "img") }
    var missing = MissingFiles()
    var scan = BenchmarkScan(labels: .btcv)
    scan.cases = pairs(pictures, truths, &missing) { number in
      ("\(images)/img\(padded(number)).nii.gz", "\(labels)/label\(padded(number)).nii.gz")
    } name: {
      "img" + padded($0)
    }
    try missing.check(source)
    for number in hidden.numbers {
      guard let image = hidden.paths[number] else { continue }
      scan.cases.append(BenchmarkCase(name: "img" + padded(number), part: .test, image: image, label: nil))
    }
    return scan
  }

  private static func padded(_ number: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
  }
}
