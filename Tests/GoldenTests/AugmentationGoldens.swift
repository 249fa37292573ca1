import FineTuning
import Imaging
import Platform
import Segmentation
import Tensors
import TestSupport
import WeightFiles

let augmentationGoldens: [GoldenCheck] = [
  GoldenCheck("augment/augment.json", run: checkAugmentationNumbers),
  GoldenCheck("augment/transforms.safetensors", run: checkTransforms),
  GoldenCheck("augment/loader.json", run: checkLoaderNumbers),
  GoldenCheck("augment/loader_*.safetensors", run: checkLoaderBatch),
]

private func ints(_ json: JSON?) -> [Int] { json?.arrayValue?.compactMap(\.intValue) ?? [] }
private func numbers(_ json: JSON?) -> [Double] { json?.arrayValue?.compactMap(\.doubleValue) ?? [] }
private func bools(_ json: JSON?) -> [Bool] { json?.arrayValue?.map { $0 == .bool(true) } ?? [] }
private func contents(_ file: GoldenFile) throws -> JSON { try JSON.parse(InputFile.contents(file.path), source: file.path) }

// MARK: numbers

private func checkAugmentationNumbers(_ file: GoldenFile) throws {
  let json = try contents(file)
  for (text, weights) in json["blur_kernels_truncate6"]?.objectValue?.entries ?? [] {
    guard let deviation = DecimalText.parse(text) else { return file.fail(text, "is no number") }
    file.compare(
      "blur_kernels/" + text, GaussianBlur.kernel(deviation).map(Double.init), expected: numbers(weights), file.tolerance("blur_kernels"))
  }
  for (index, item) in (json["initial_patch_size"]?.arrayValue ?? []).enumerated() {
    let patch = ints(item["patch"])
    let rotation = PatchGeometry.rotation(patch)
    file.expect([rotation.lowerBound, rotation.upperBound] == numbers(item["rotation"]), "initial_patch_size/\(index)/rotation")
    let initial = try PatchGeometry.training(patch).loaderPatch
    file.expect(initial == ints(item["initial"]), "initial_patch_size/\(index)", "is \(initial)")
  }
  let change = json["lowres_2d_transform_max_abs_change_over_200_random_calls"]?.doubleValue
  file.expect((change == 0) == !Augmentation.official.lowResolution.isApplied, "lowres_2d")
  try checkPipeline(file, json["pipeline"]?.arrayValue ?? [])
}

/// The probabilities of the official pipeline are the defaults; its order is that of the list.
private func checkPipeline(_ file: GoldenFile, _ pipeline: [JSON]) throws {
  let official = Augmentation.official
  let chances: [(name: String, key: String, value: Double)] = [
    ("spatial", "p_rotation", official.spatial.rotationChance), ("spatial", "p_scaling", official.spatial.scalingChance),
    ("gaussian_noise", "p", official.noise.chance), ("gaussian_blur", "p", official.blur.chance),
    ("gaussian_blur", "p_channel", official.blur.channelChance), ("brightness_mult", "p", official.brightness.chance),
    ("contrast", "p", official.contrast.chance), ("low_resolution", "p", official.lowResolution.chance),
    ("low_resolution", "p_channel", official.lowResolution.channelChance), ("gamma_inverted", "p", official.invertedGamma.chance),
    ("gamma", "p", official.gamma.chance), ("mirror", "p_axis", official.mirror.chance),
  ]
  for (name, key, value) in chances {
    let entry = pipeline.first { $0["t"]?.stringValue == name }
    file.expect(entry?[key]?.doubleValue == value, "pipeline/\(name)/\(key)", "is \(value)")
  }
}

private func checkLoaderNumbers(_ file: GoldenFile) throws {
  let json = try contents(file)
  for (index, item) in (json["bbox"]?.arrayValue ?? []).enumerated() {
    let image = ints(item["image"])
    let geometry = try PatchGeometry(patch: ints(item["final_patch"]), loaderPatch: ints(item["patch"]))
    let starts = [0, 1].map { geometry.starts(axis: $0, size: image[$0]) }
    file.expect(starts.map(\.lowerBound) == ints(item["lower_bounds"]), "bbox/\(index)/lower", "are \(starts)")
    file.expect(starts.map(\.upperBound) == ints(item["upper_bounds_inclusive"]), "bbox/\(index)/upper", "are \(starts)")
    for entry in item["voxel_to_bbox"]?.arrayValue ?? [] {
      let voxel = ints(entry["voxel"])
      let start = [0, 1].map { geometry.start(axis: $0, size: image[$0], around: voxel[$0]) }
      let box = geometry.box(row: start[0], column: start[1])
      file.expect(start == ints(entry["lb"]), "bbox/\(index)/voxel", "is \(box)")
      file.expect([box.rows.upperBound, box.columns.upperBound] == ints(entry["ub"]), "bbox/\(index)/end", "is \(box)")
    }
  }
  for (index, item) in (json["oversampling"]?.arrayValue ?? []).enumerated() {
    guard let size = item["batch_size"]?.intValue, let share = item["percent"]?.doubleValue else {
      return file.fail("oversampling", "broken")
    }
    let rule = ForegroundRule(share: share)
    let forced = (0..<size).map { rule.isForced(position: $0, batchSize: size) }
    file.expect(forced == bools(item["force_fg"]), "oversampling/\(index)", "are \(forced)")
  }
}

// MARK: transforms

private func checkTransforms(_ file: GoldenFile) throws {
  for entry in file.entry["cases"]?.arrayValue ?? [] {
    guard let name = entry["name"]?.stringValue else { return file.fail("cases", "an entry without a name") }
    switch name.split(separator: ".")[0] {
    case "spatial": try checkSpatial(file, name, entry)
    case "crop": try checkCrop(file, name, entry)
    default: try checkIntensity(file, name, entry)
    }
  }
  try checkMirror(file)
  let labels = try file.file().tensor("S", in: file.budget)
  let image = try copy(of: "A", file)
  try TargetEncoding.maskImage(image, labels: labels, channels: [Bool](repeating: true, count: image.shape[0]))
  try file.compare("mask_image", image)
  let cleaned = try Tensor(labels.shape, .int16, in: file.budget)
  cleaned.copy(from: labels)
  try TargetEncoding.removeOutside(cleaned)
  try file.compare("remove_label", cleaned)

  // The regions are those of pipeline specification 14; the file does not name them.
  let encoding = TargetEncoding(regions: [[1, 2, 3], [2, 3], [2]], ignoreLabel: 4)
  let plain = try file.file().tensor("regions.in", in: file.budget)
  let stack = try Tensor(Shape([encoding.channels] + plain.shape.extents.dropFirst()), .int16, in: file.budget)
  try encoding.encode(plain, into: stack)
  try file.compare("regions.out", stack)
}

private func copy(of name: String, _ file: GoldenFile) throws -> Tensor {
  let source = try file.tensor(name)
  let result = try Tensor(source.shape, in: file.budget)
  result.copy(from: source)
  return result
}

private func checkSpatial(_ file: GoldenFile, _ name: String, _ entry: JSON) throws {
  let image = try file.tensor("img")
  let labels = try file.file().tensor("seg", in: file.budget)
  let patch = ints(entry["patch_size"])
  guard let angle = entry["angle_rad"]?.doubleValue, let scale = entry["scale"]?.doubleValue else { return file.fail(name, "broken") }
  let newImage = try Tensor(Shape([image.shape[0]] + patch), in: file.budget)
  let newLabels = try Tensor(Shape([1] + patch), .int16, in: file.budget)
  if angle == 0, scale == 1 {
    // Nothing drawn: the middle of the box.
    let (rows, columns) = (image.shape[1], image.shape[2])
    let geometry = try PatchGeometry(patch: patch, loaderPatch: [rows, columns])
    let box = geometry.centre(geometry.box(row: 0, column: 0))
    let source = PlaneCase(image: image, labels: labels)
    try PatchReader.readImage(box, slice: 0, of: source, into: newImage)
    try PatchReader.readLabels(box, slice: 0, of: source, into: newLabels)
  } else {
    try SpatialTransform.apply(
      .init(angle: angle, scale: scale), image: image, labels: labels, newImage: newImage, newLabels: newLabels,
      workspace: Workspace(file.budget))
  }
  try file.compare(name + ".img", newImage)
  try file.compare(name + ".seg", newLabels)
}

private func checkCrop(_ file: GoldenFile, _ name: String, _ entry: JSON) throws {
  let image = try file.tensor("img")
  let (centre, size) = (ints(entry["center"]), ints(entry["size"]))
  let out = try Tensor(Shape([image.shape[0]] + size), in: file.budget)
  let box = PatchBox(
    rows: PatchGeometry.range(around: centre[0], size: size[0]), columns: PatchGeometry.range(around: centre[1], size: size[1]))
  let source = PlaneCase(image: image, labels: try file.file().tensor("seg", in: file.budget))
  try PatchReader.readImage(box, slice: 0, of: source, into: out)
  try file.compare(name, out)
}

private func checkIntensity(_ file: GoldenFile, _ name: String, _ entry: JSON) throws {
  let image = try copy(of: "A", file)
  let workspace = Workspace(file.budget)
  func all<T>(_ value: T) -> [T] { [T](repeating: value, count: image.shape[0]) }
  func number(_ key: String) throws -> Double {
    guard let value = entry[key]?.doubleValue else { throw MedDINOError.format("\(name) has no \(key)") }
    return value
  }
  func flag(_ key: String) -> Bool { entry[key] == .bool(true) }
  switch name.split(separator: ".")[0] {
  case "gamma":
    let exponents = all(try number("gamma"))
    try Gamma.apply(.init(exponents: exponents, inverts: flag("invert"), retainsStatistics: flag("retain_stats")), to: image)
  case "contrast": try Contrast.apply(all(try number("factor")), to: image)
  case "brightness": try Brightness.apply(all(try number("factor")), to: image)
  case "blur":
    let deviations = GaussianBlur.Deviations(rows: try number("sigma_axis0"), columns: try number("sigma_axis1"))
    try GaussianBlur.apply(all(deviations), to: image, workspace: workspace)
  case "lowres":
    let scale = try number("scale")
    let size = LowResolution.coarseSize(rows: image.shape[1], columns: image.shape[2], scale: scale)
    file.expect(size == ints(entry["low_shape"]), name + "/low_shape", "is \(size)")
    try LowResolution.apply(all(scale), to: image, workspace: workspace)
  default: return file.fail(name, "is an unknown transform")
  }
  try file.compare(name, image)
}

private func checkMirror(_ file: GoldenFile) throws {
  for name in try file.file().names where name.hasPrefix("mirror.") {
    let image = try copy(of: "A", file)
    let labels = try Tensor(Shape([1] + image.shape.extents.dropFirst()), .int16, in: file.budget)
    labels.copy(from: try file.file().tensor("S", in: file.budget))
    let axes = name.dropFirst("mirror.".count)
    try Mirror.apply(.init(rows: axes.contains("0"), columns: axes.contains("1")), image: image, labels: labels)
    try file.compare(name, image)
  }
}

/// One slice as a case.
private struct PlaneCase: TrainingCase {
  let identifier = "plane"
  let image: Tensor
  let labels: Tensor
  let locations: [ForegroundLocations] = []
  var shape: [Int] { [image.shape[0], 1, image.shape[1], image.shape[2]] }

  func readImage(channel: Int, slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Float>) {
    for (index, row) in rows.enumerated() {
      for (place, column) in columns.enumerated() {
        out[index * columns.count + place] = Float(image.value((channel * shape[2] + row) * shape[3] + column))
      }
    }
  }
  func readLabels(slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Int16>) {
    for (index, row) in rows.enumerated() {
      for (place, column) in columns.enumerated() {
        out[index * columns.count + place] = Int16(labels.value(row * shape[3] + column))
      }
    }
  }
}

// MARK: loader

/// The recorded decisions of the official loader, in their order.
private struct DecisionTrace {
  private let entries: [JSON]
  private var next = 0
  init(_ json: JSON?) { entries = json?.arrayValue ?? [] }
  var isUsedUp: Bool { next == entries.count }

  /// A choice among `population`; its result.
  mutating func choice(of population: Int) throws -> Int {
    let entry = try take("choice")
    guard entry["population"]?.intValue == population, let result = entry["result"]?.intValue else {
      throw MedDINOError.invalid("decision \(next - 1): a choice among \(population), recorded \(entry)")
    }
    return result
  }
  /// A whole number of the range.
  mutating func integer(_ range: ClosedRange<Int>) throws -> Int {
    let entry = try take("randint")
    guard entry["low"]?.intValue == range.lowerBound, entry["high_exclusive"]?.intValue == range.upperBound + 1,
      let result = entry["result"]?.intValue
    else { throw MedDINOError.invalid("decision \(next - 1): one of \(range), recorded \(entry)") }
    return result
  }
  mutating func keys(of population: Int) throws -> [String] {
    let entry = try take("choice")
    guard entry["population"]?.intValue == population else {
      throw MedDINOError.invalid("\(population) cases, recorded \(entry)")
    }
    return entry["result"]?.arrayValue?.compactMap(\.stringValue) ?? []
  }
  private mutating func take(_ function: String) throws -> JSON {
    guard next < entries.count, entries[next]["fn"]?.stringValue == function else {
      throw MedDINOError.invalid("decision \(next) is not a \(function)")
    }
    next += 1
    return entries[next - 1]
  }
}

private func checkLoaderBatch(_ file: GoldenFile) throws {
  let parts = file.name.split(separator: "/")[1].split(separator: ".")[0].split(separator: "_").map(String.init)
  let dataset = parts.dropFirst().dropLast().joined(separator: "_")
  let kept = try file.doubles("kept_batch_positions").map { Int($0) }
  try file.compare("kept_batch_positions", kept)
  guard let record = file.entry["cases"]?.arrayValue?.first else { return file.fail("cases", "missing") }
  var trace = DecisionTrace(record["trace"])
  let labelFiles = try folderEntries(file.folder + "/raw/" + dataset + "/labelsTr").filter { $0.hasSuffix(".nii.gz") }
  let keys = try trace.keys(of: labelFiles.count)
  file.expect(keys == record["keys"]?.arrayValue?.compactMap(\.stringValue), "keys", "are \(keys)")

  var loaded: [String: (GoldenCase, MemoryTrainingCase)] = [:]
  var (data, target): ([Double], [Double]) = ([], [])
  for (position, key) in keys.enumerated() {
    if loaded[key] == nil {
      let found = try GoldenCase(file, dataset: dataset, configuration: "2d", id: key, folder: "imagesTr")
      let contents = try PreprocessedCase(
        found.channels, labels: found.labels, plan: found.plan, configuration: found.configuration, scheme: found.scheme,
        pool: goldenThreads(), in: file.budget)
      loaded[key] = (found, try MemoryTrainingCase(identifier: key, contents))
    }
    guard let (found, item) = loaded[key] else { continue }
    let patch = found.configuration.patchSize
    let geometry = parts.last == "train" ? try PatchGeometry.training(patch) : try PatchGeometry.validation(patch)
    let replay = try Replay(item, geometry, ForegroundRule(found.scheme), position: position, of: keys.count, &trace)
    try replay.compare(file, record["boxes"]?.arrayValue?[position] ?? .null, position, item)
    guard kept.contains(position) else { continue }
    let image = try Tensor(Shape([item.shape[0]] + geometry.loaderPatch), in: file.budget)
    let labels = try Tensor(Shape([1] + geometry.loaderPatch), .int16, in: file.budget)
    try PatchReader.readImage(replay.box, slice: replay.slice, of: item, into: image)
    try PatchReader.readLabels(replay.box, slice: replay.slice, of: item, into: labels)
    data += (0..<image.count).map { image.value($0) }
    target += (0..<labels.count).map { labels.value($0) }
  }
  file.expect(trace.isUsedUp, "trace", "has more decisions")
  try file.compare("data", data)
  try file.compare("target", target)
}

/// One position of a batch with the recorded decisions.
private struct Replay {
  let forced: Bool
  let location: Int?
  let slice: Int
  let box: PatchBox

  init(
    _ item: MemoryTrainingCase, _ geometry: PatchGeometry, _ rule: ForegroundRule, position: Int, of batchSize: Int,
    _ trace: inout DecisionTrace
  ) throws {
    forced = rule.isForced(position: position, batchSize: batchSize)
    let candidates = rule.candidates(item.locations, forced: forced)
    let shape = item.shape
    guard !candidates.isEmpty else {
      location = nil
      slice = try trace.choice(of: shape[1])
      let row = try trace.integer(geometry.starts(axis: 0, size: shape[2]))
      box = geometry.box(row: row, column: try trace.integer(geometry.starts(axis: 1, size: shape[3])))
      return
    }
    // Without foreground to force, the annotated key is taken without a draw.
    let chosen = forced ? candidates[try trace.choice(of: candidates.count)] : candidates[0]
    let found = item.locations[chosen]
    location = chosen
    slice = try trace.choice(of: found.count)
    let rank = try trace.choice(of: found.count(inSlice: slice))
    guard let place = found.place(rank, inSlice: slice) else { throw MedDINOError.invalid("no location \(rank) in slice \(slice)") }
    let row = geometry.start(axis: 0, size: shape[2], around: place.row)
    box = geometry.box(row: row, column: geometry.start(axis: 1, size: shape[3], around: place.column))
  }

  func compare(_ file: GoldenFile, _ expected: JSON, _ position: Int, _ item: MemoryTrainingCase) throws {
    let name = "boxes/\(position)"
    file.expect(ints(expected["slice_shape"]) == Array(item.shape.suffix(2)), name + "/slice_shape", "is \(item.shape)")
    file.expect(expected["force_fg"] == .bool(forced), name + "/force_fg", "is \(forced)")
    let key = location.map { item.locations[$0].key.description }
    file.expect(expected["selected_class"]?.stringValue == key, name + "/selected_class", "is \(key ?? "none")")
    file.expect(ints(expected["lb"]) == [box.rows.lowerBound, box.columns.lowerBound], name + "/lb", "is \(box)")
    file.expect(ints(expected["ub"]) == [box.rows.upperBound, box.columns.upperBound], name + "/ub", "is \(box)")
  }
}
