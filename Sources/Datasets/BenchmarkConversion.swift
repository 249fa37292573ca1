public import Platform
internal import WeightFiles

extension Benchmark {
  /// Converts a benchmark from its published folder layout to an nnU-Net raw dataset `<folder>/<datasetName>`.
  ///
  /// An interrupted conversion goes on where it stopped: files that are complete are kept. `dataset.json` comes last, so that a folder
  /// left half done is no dataset. The voxels are not looked at; planning checks them.
  /// Throws: `.invalid` for a layout that is not the published one, a missing file of a pair, or a dataset folder with other cases in
  /// it; `.format`, `.io`, `.cancelled`.
  /// Source: pipeline specification 1.2, 12.
  @discardableResult
  public func convert(
    from source: String, to folder: String, options: BenchmarkOptions = BenchmarkOptions(), control: RunControl? = nil
  ) throws(MedDINOError) -> BenchmarkSummary {
    if options.publishedSplit, self != .amos22 {
      throw .invalid("published split: \(title) has none; amos22 has, and any split can be given as a file")
    }
    if options.publishedSplit, options.splits != nil { throw .invalid("published split and a splits file exclude each other") }
    let scan = try BenchmarkScan.find(self, in: source, regions: options.regions)
    let root = folder.isEmpty ? datasetName : folder + "/" + datasetName
    let conversion = BenchmarkConversion(benchmark: self, scan: scan, root: root, options: options)
    let splits = try conversion.splits()
    try conversion.checkTarget()
    var summary = BenchmarkSummary(folder: root)
    summary.leftOut = scan.leftOut
    summary.testCases = scan.cases.count { $0.part == .test }
    summary.trainingCases = scan.cases.count - summary.testCases
    try conversion.transfer(&summary, control)
    if let splits {
      try AtomicFile.write(splits, to: root + "/splits_final.json")
    } else {
      summary.keptSplits = try conversion.leaveSplits()
    }
    try LeakNote(benchmark: self, cases: scan.cases).write(to: root)
    try AtomicFile.write(Array((conversion.description.text(indent: 4) + "\n").utf8), to: root + "/dataset.json")
    return summary
  }
}

/// The steps of one conversion.
private struct BenchmarkConversion {
  let benchmark: Benchmark
  let scan: BenchmarkScan
  let root: String
  let options: BenchmarkOptions

  private var training: [BenchmarkCase] { scan.cases.filter { $0.part != .test } }

  private var files: [FileTransfer] {
    scan.cases.flatMap { one -> [FileTransfer] in
      let images = one.part == .test ? "imagesTs" : "imagesTr"
      let image = FileTransfer(source: one.image, target: "\(root)/\(images)/\(one.name)_0000.nii.gz", link: options.link)
      guard let label = one.label else { return [image] }
      return [image, FileTransfer(source: label, target: "\(root)/labelsTr/\(one.name).nii.gz", link: options.link)]
    }
  }

  /// Refuses a dataset folder that holds cases of something else: they would become training cases.
  func checkTarget() throws(MedDINOError) {
    let expected = Set(files.map(\.target))
    for folder in ["imagesTr", "labelsTr", "imagesTs"] where FileKind.of("\(root)/\(folder)") == .directory {
      for name in try folderEntries("\(root)/\(folder)") where name.hasSuffix(".nii.gz") {
        guard expected.contains("\(root)/\(folder)/\(name)") else {
          throw .invalid("\(root)/\(folder)/\(name): no file of this conversion, expected a new folder or one that it left")
        }
      }
    }
  }

  func transfer(_ summary: inout BenchmarkSummary, _ control: RunControl?) throws(MedDINOError) {
    let files = files
    var sizes: [Double] = []
    for file in files { sizes.append(Double(try InputFile(file.source).size)) }
    let total = max(sizes.reduce(0, +), 1)
    for folder in ["imagesTr", "labelsTr"] + (summary.testCases > 0 ? ["imagesTs"] : []) { try makeFolder("\(root)/\(folder)") }
    var done = 0.0
    for (file, size) in zip(files, sizes) {
      try control?.begin("converting", from: done / total, to: (done + size) / total)
      switch try file.run(control) {
      case .copied: summary.copied += 1
      case .linked: summary.linked += 1
      case .compressed: summary.compressed += 1
      case .kept: summary.kept += 1
      }
      done += size
    }
  }

  var description: JSON {
    var labels = JSONObject()
    for entry in scan.labels.entries { labels[entry.name] = entry.values.count == 1 ? .integer(entry.values[0]) : .integers(entry.values) }
    var object = JSONObject([
      ("channel_names", .object(("0", .string("CT")))), ("labels", .object(labels)), ("numTraining", .integer(training.count)),
      ("file_ending", .string(".nii.gz")),
    ])
    if let order = scan.labels.regionsClassOrder { object["regions_class_order"] = .integers(order) }
    if let reader = benchmark.reader { object["overwrite_image_reader_writer"] = .string(reader) }
    object["name"] = .string(String(benchmark.datasetName.drop { $0 != "_" }.dropFirst()))
    object["reference"] = .string(benchmark.reference)
    object["description"] = .string("\(benchmark.title), converted by meddino; see leak-note.md")
    return .object(object)
  }

  private var publishedSplits: [UInt8] {
    func names(_ part: BenchmarkCase.Part) -> JSON { .array(training.filter { $0.part == part }.map { .string($0.name) }) }
    return Array((JSON.array([.object(("train", names(.training)), ("val", names(.validation)))]).text(indent: 4) + "\n").utf8)
  }

  /// Without a split to write: that of an earlier conversion with the published one goes, another one stays. Returns whether one stays.
  func leaveSplits() throws(MedDINOError) -> Bool {
    let path = root + "/splits_final.json"
    guard FileKind.of(path) != .missing else { return false }
    guard benchmark == .amos22, try InputFile.contents(path) == publishedSplits else { return true }
    try removeFile(path)
    return false
  }

  /// The bytes of `splits_final.json`, nil when training is to make its folds.
  /// Throws: `.format` for a file that is no list of splits of these cases.
  func splits() throws(MedDINOError) -> [UInt8]? {
    if options.publishedSplit { return publishedSplits }
    guard let path = options.splits else { return nil }
    let bytes = try InputFile.contents(path, limit: 64 << 20)
    let known = Set(training.map(\.name))
    guard let splits = try JSON.parse(bytes, source: path).arrayValue, !splits.isEmpty else {
      throw .format("\(path): expected a list of splits, each with train and val")
    }
    for (index, split) in splits.enumerated() {
      var seen: Set<String> = []
      for key in ["train", "val"] {
        guard let names = split[key]?.arrayValue, !names.isEmpty else {
          throw .format("\(path): split \(index) has no \(key), expected a list of case names")
        }
        for name in names {
          guard let text = name.stringValue, known.contains(text) else {
            throw .format("\(path): split \(index) \(key) holds \(name.text()), which is no training case of \(benchmark.title)")
          }
          guard seen.insert(text).inserted else { throw .format("\(path): split \(index) holds the case \(text) twice") }
        }
      }
    }
    return bytes
  }
}
