internal import Imaging
internal import Platform
internal import Segmentation
internal import Tensors

/// What looking at one case found: its files in memory, where it is not zero, and everything that is wrong with it.
struct CaseInspection {
  private(set) var problems: [DatasetProblem] = []
  private(set) var warnings: [String] = []
  /// nil when the files could not be read or do not fit together.
  private(set) var loaded: LoadedCase?
  /// The box of voxels that are not 0 in some channel.
  private(set) var box: VoxelBox?
  /// Voxels with a label above 0, the ignore label included.
  private(set) var foreground = 0

  private let files: RawDataset.Case
  private let dataset: RawDataset

  /// Throws: only what is no fault of the dataset: `.outOfMemory`, `.cancelled`, `.internal`.
  init(_ files: RawDataset.Case, _ dataset: RawDataset, pool: ThreadPool, in budget: MemoryBudget, control: RunControl)
    throws(MedDINOError)
  {
    self.files = files
    self.dataset = dataset
    try inspect(pool, budget, control)
  }

  private mutating func inspect(_ pool: ThreadPool, _ budget: MemoryBudget, _ control: RunControl) throws(MedDINOError) {
    var images: [Volume] = []
    checkFiles()
    for path in files.images where FileKind.of(path) == .regular {
      if let volume = try read(path, budget, control) { images.append(volume) }
      try control.update(Double(images.count) / Double(files.images.count) * 0.5)
    }
    let labels = FileKind.of(files.label) == .regular ? try read(files.label, budget, control) : nil
    try control.update(0.6)
    guard images.count == files.images.count, let first = images.first else { return }
    if !first.geometry.spacing.allSatisfy(DatasetFingerprint.isSpacing) {
      problem(.spacing, "the image has a spacing of \(first.geometry.spacing) mm (x, y, z), expected lengths above 0 and below 1e9")
    }
    checkChannels(images)
    if let labels { compare(labels, with: first, "labels", "the image") }
    if let labels, try checkLabels(labels, budget, control), problems.isEmpty {
      loaded = LoadedCase(images: images, labels: labels)
    }
    if problems.allSatisfy({ $0.kind != .shape && $0.kind != .spacing && $0.kind != .missingChannel }) {
      try scan(images, pool, budget, control)
    }
    if !problems.isEmpty { loaded = nil }
  }

  private mutating func problem(_ kind: DatasetProblem.Kind, _ message: String) {
    problems.append(DatasetProblem(kind, case: files.identifier, message))
  }

  private mutating func read(_ path: String, _ budget: MemoryBudget, _ control: RunControl) throws(MedDINOError) -> Volume? {
    do throws(MedDINOError) {
      return try VolumeFile.read(path, reader: dataset.reader, in: budget, control: control.branch(nil))
    } catch {
      guard [.io, .format, .unsupported, .invalid, .shape].contains(error.kind) else { throw error }
      problem(.unreadable, "cannot be read: \(error.message)")
      return nil
    }
  }

  /// Files that are not there.
  private mutating func checkFiles() {
    let names = dataset.description.channelNames
    for path in files.images { if let fault = Self.fault(path) { problem(.missingChannel, "channel file \(path) \(fault)") } }
    if files.images.isEmpty {
      problem(.missingChannel, "no channel file, expected \(files.identifier)_0000\(dataset.description.fileEnding) in imagesTr")
    } else if files.images.count > 1, files.images.count < names.count {
      problem(
        .missingChannel,
        "\(files.images.count) channel files, dataset.json declares \(names.count) channels; missing: \(missingNumbers())")
    } else if files.images.count > names.count {
      problem(
        .missingChannel, "\(files.images.count) channel files, dataset.json declares \(names.count): \(names.joined(separator: ", "))")
    }
    if let fault = Self.fault(files.label) { problem(.missingLabel, "label file \(files.label) \(fault)") }
  }

  /// What is wrong with a path that should be a file's; nil for a file.
  private static func fault(_ path: String) -> String? {
    switch FileKind.of(path) {
    case .regular: nil
    case .missing: "is missing"
    case .directory: "is a folder, expected a file"
    case .other: "is a device or pipe, expected a file"
    }
  }

  private func missingNumbers() -> String {
    let ending = dataset.description.fileEnding
    let expected = dataset.description.channelNames.indices.map { "_" + String(10000 + $0).dropFirst() + ending }
    let missing = expected.filter { tail in !files.images.contains { $0.hasSuffix(tail) } }
    return missing.isEmpty ? "one of them" : missing.map { files.identifier + $0 }.joined(separator: ", ")
  }

  private mutating func checkChannels(_ images: [Volume]) {
    let names = dataset.description.channelNames
    let count = images.reduce(0) { $0 + $1.channels }
    if count != names.count, images.count == 1 || images.count == names.count {
      problem(
        .missingChannel,
        "\(count) channels in \(images.count) file\(images.count == 1 ? "" : "s"), dataset.json declares \(names.count): "
          + names.joined(separator: ", "))
    }
    for (index, image) in images.enumerated().dropFirst() { compare(image, with: images[0], "channel \(index)", "channel 0") }
  }

  /// Same shape and spacing; other places in the patient are only warned about.
  private mutating func compare(_ volume: Volume, with reference: Volume, _ what: String, _ other: String) {
    let (a, b) = (volume.geometry, reference.geometry)
    if a.dims != b.dims {
      problem(.shape, "\(what): shape \(a.dims) (x, y, z), expected that of \(other): \(b.dims)")
    } else if !Self.isClose(a.spacing, b.spacing) {
      problem(.spacing, "\(what): spacing \(a.spacing) mm (x, y, z), expected that of \(other): \(b.spacing)")
    } else {
      if !Self.isClose(a.origin, b.origin) {
        warnings.append("case \(files.identifier): \(what): origin \(a.origin), \(other) has \(b.origin)")
      }
      if !Self.isClose(a.direction, b.direction) {
        warnings.append("case \(files.identifier): \(what): direction \(a.direction), \(other) has \(b.direction)")
      }
    }
  }

  private static func isClose(_ a: [Double], _ b: [Double]) -> Bool {
    zip(a, b).allSatisfy { ($0 - $1).magnitude <= 1e-8 + 1e-5 * $1.magnitude }
  }

  /// Every value that occurs has to be declared. Returns whether all do.
  private mutating func checkLabels(_ labels: Volume, _ budget: MemoryBudget, _ control: RunControl) throws(MedDINOError) -> Bool {
    guard labels.channels == 1 else {
      problem(.shape, "labels have \(labels.channels) channels, expected 1")
      return false
    }
    let census = try LabelCensus(labels, largest: dataset.scheme.ignoreLabel ?? dataset.scheme.allLabels.count - 1, in: budget, control)
    if census.nonFinite > 0 { problem(.nonFinite, "labels hold NaN or infinity in \(census.nonFinite) voxels") }
    if !census.unknown.isEmpty {
      let declared = (dataset.scheme.allLabels + [dataset.scheme.ignoreLabel].compactMap { $0 }).map(String.init).joined(separator: ", ")
      let found = census.unknown.map { "\($0.value) (\($0.voxels) voxels)" }.joined(separator: ", ")
      problem(.unknownLabel, "labels hold \(found)\(census.isCut ? " and more" : ""), dataset.json declares \(declared)")
    }
    foreground = census.counts.dropFirst().reduce(0, +)
    return census.nonFinite == 0 && census.unknown.isEmpty
  }

  /// NaN and infinity, and the box that is not zero.
  private mutating func scan(_ images: [Volume], _ pool: ThreadPool, _ budget: MemoryBudget, _ control: RunControl)
    throws(MedDINOError)
  {
    do throws(MedDINOError) {
      let channels = try CaseChannels(images, count: images.reduce(0) { $0 + $1.channels }, transposeForward: [0, 1, 2])
      let found = try CaseScan.whole(channels, pool: pool, in: budget, control: control)
      for (index, channel) in found.channels.enumerated() where channel.nonFinite > 0 {
        problem(.nonFinite, "channel \(index) holds NaN or infinity in \(channel.nonFinite) voxels")
      }
      let ranges = found.nonzeroBox.ranges
      box = VoxelBox(lower: (0..<3).map { ranges[2 - $0].lowerBound }, upper: (0..<3).map { ranges[2 - $0].upperBound })
    } catch {
      guard [.invalid, .shape].contains(error.kind) else { throw error }
      problem(error.kind == .shape ? .shape : .nonFinite, error.message)
    }
  }
}
