import Imaging
import Platform
import Segmentation
import Tensors
import WeightFiles

let pipelineGoldens: [GoldenCheck] = [
  GoldenCheck("sliding/steps.json", run: checkSteps),
  GoldenCheck("sliding/padding.json", run: checkPadding),
  GoldenCheck("sliding/gaussian.safetensors", run: checkImportance),
  GoldenCheck("preproc/normalization.safetensors", run: checkNormalization),
  GoldenCheck("preprocessed/*/2d*/*.safetensors", run: checkPreprocessedArrays),
  GoldenCheck("preprocessed/*/2d*/*.json", run: checkPreprocessedProperties),
]

let goldenPool: ThreadPool? = try? ThreadPool(threads: 2)
func goldenThreads() throws -> ThreadPool {
  guard let goldenPool else { throw MedDINOError(.outOfMemory, "no thread pool") }
  return goldenPool
}

private func ints(_ json: JSON?) -> [Int] { json?.arrayValue?.compactMap(\.intValue) ?? [] }

private func checkSteps(_ file: GoldenFile) throws {
  let json = try JSON.parse(InputFile.contents(file.path), source: file.path)
  for (index, item) in (json.arrayValue ?? []).enumerated() {
    let (image, tile) = (ints(item["image_size"]), ints(item["tile_size"]))
    let window = try SlidingWindow(
      rows: image[0], columns: image[1], tileRows: tile[0], tileColumns: tile[1], step: item["step"]?.doubleValue ?? 0)
    let expected = item["steps"]?.arrayValue?.map(ints) ?? []
    file.expect(
      [window.rows.starts, window.columns.starts] == expected, "\(index)", "steps are \(window.rows.starts), \(window.columns.starts)")
  }
}

private func checkPadding(_ file: GoldenFile) throws {
  let json = try JSON.parse(InputFile.contents(file.path), source: file.path)
  for (index, item) in (json.arrayValue ?? []).enumerated() {
    let (shape, tile) = (ints(item["shape"]), ints(item["new_shape"]))
    let expectedShape = ints(item["out_shape"]).suffix(2)
    let slicer = item["slicer"]?.arrayValue?.map(ints).suffix(2) ?? []
    let axes = try zip(shape.suffix(2), tile).map { try SlidingWindow.axis(size: $0, tile: $1, step: 0.5) }
    file.expect(axes.map(\.paddedSize) == Array(expectedShape), "\(index)/out_shape")
    file.expect(axes.map { [$0.padLow, $0.padLow + $0.size] } == Array(slicer), "\(index)/slicer")
  }
}

private func checkImportance(_ file: GoldenFile) throws {
  for name in try file.file().names {
    let parts = name.split(separator: ".").map(String.init)
    let size = parts[0].dropFirst(2).split(separator: "x").compactMap { Int($0) }
    let (rows, columns) = (size[0], size.last ?? size[0])
    let half = parts.last == "half"
    let map = try GaussianImportance.map(rows: rows, columns: columns, roundedToHalf: half, in: file.budget)
    let values = map.floatArray()
    switch parts.count == 3 ? parts[1] : "all" {
    case "row_center": try file.compare(name, Array(values[(rows / 2) * columns..<(rows / 2 + 1) * columns]))
    case "row0": try file.compare(name, Array(values[0..<columns]))
    case "diag": try file.compare(name, (0..<rows).map { values[$0 * columns + $0] })
    default: try file.compare(name, values)
    }
  }
}

/// Puts a [channels, z, y, x] array into a volume.
private func volume(_ values: [Float], _ shape: [Int], in budget: MemoryBudget) throws -> Volume {
  let geometry = Geometry(dims: [shape[2], shape[1], shape[0]])
  let result = try Volume(allocating: .float32, geometry: geometry, in: budget)
  result.mutableBase.copyMemory(from: values, byteCount: values.count * 4)
  return result
}

private func normalizationPlan(_ properties: JSON?) throws -> Plan {
  let json = JSON.object(
    ("transpose_forward", .integers([0, 1, 2])), ("transpose_backward", .integers([0, 1, 2])),
    ("configurations", .object(("2d", .object(JSONObject())))),
    ("foreground_intensity_properties_per_channel", .object(("0", properties ?? .null))))
  return try Plan(json)
}

private func checkNormalization(_ file: GoldenFile) throws {
  let plan = try normalizationPlan(file.entry["cases"]?.arrayValue?.first?["intensity_properties"])
  let x = try file.floats("x")
  let seg = try file.floats("seg")
  let shape = try file.tensor("x").shape.extents
  func normalized(_ scheme: NormalizationScheme, _ values: [Float]) throws -> [Float] {
    let configuration = Plan.Configuration(name: "2d", patchSize: [8, 8], spacing: [1, 1], normalization: [scheme])
    let prepared = try PreprocessedCase(
      [volume(values, shape, in: file.budget)], labels: nil, plan: plan, configuration: configuration, scheme: nil,
      pool: goldenThreads(), in: file.budget)
    return prepared.data.floatArray()
  }
  try file.compare("ct", normalized(.ct, x))
  try file.compare("zscore", normalized(.zScore, x))
  try file.compare("none", normalized(.none, x))
  try file.compare("rescale01", normalized(.rescale01, x))
  try file.compare("rgb", normalized(.rgb01, x.map { min(max($0.magnitude, 0), 255) }))
  try file.compare("const_zscore", normalized(.zScore, x.map { _ in 7 }))
  // The mask is given here, not found: statistics over it, then the same arithmetic.
  let inside = zip(x, seg).filter { $1 >= 0 }.map { Double($0.0) }
  let mean = inside.reduce(0, +) / Double(inside.count)
  let std = (inside.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(inside.count)).squareRoot()
  let statistics = ChannelNormalizer.Statistics(minimum: 0, maximum: 0, mean: mean, std: std)
  let normalizer = try ChannelNormalizer(.zScore, channel: 0, properties: nil, statistics: statistics)
  try file.compare("zscore_masked", zip(x, seg).map { $1 >= 0 ? normalizer.value($0) : $0 })
}

// MARK: whole cases

/// One case of a golden dataset with its plan.
struct GoldenCase {
  let plan: Plan
  let scheme: LabelScheme
  let configuration: Plan.Configuration
  let channels: [Volume]
  let labels: Volume?

  /// `folder`: "imagesTr" or "imagesTs" of the raw dataset.
  init(_ file: GoldenFile, dataset: String, configuration name: String, id: String, folder: String) throws {
    let raw = file.folder + "/raw/" + dataset
    let plansPath = file.folder + "/preprocessed/" + dataset + "/nnUNetPlans.json"
    plan = try Plan.parse(InputFile.contents(plansPath), source: plansPath)
    let description = try DatasetDescription.parse(InputFile.contents(raw + "/dataset.json"), source: "dataset.json")
    scheme = try LabelScheme(description)
    configuration = try plan.configuration(name)
    guard let reader = VolumeFile.Reader(rawValue: plan.imageReader) else { throw MedDINOError.unsupported("reader \(plan.imageReader)") }
    var channels: [Volume] = []
    for index in description.channelNames.indices {
      let digits = String(10000 + index).dropFirst()
      channels.append(try NIfTI.read("\(raw)/\(folder)/\(id)_\(digits).nii.gz", reader: reader, in: file.budget))
    }
    self.channels = channels
    let labelPath = "\(raw)/labelsTr/\(id).nii.gz"
    labels = FileKind.of(labelPath) == .regular ? try NIfTI.read(labelPath, reader: reader, in: file.budget) : nil
  }

  /// The case that a file "preprocessed/<dataset>/<configuration>/<id>.<ending>" is about, preprocessed.
  static func preprocessed(_ file: GoldenFile) throws -> (GoldenCase, PreprocessedCase) {
    let parts = file.name.split(separator: "/").map(String.init)
    let id = parts[3].split(separator: ".").map(String.init)[0]
    let found = try GoldenCase(file, dataset: parts[1], configuration: parts[2], id: id, folder: "imagesTr")
    let result = try PreprocessedCase(
      found.channels, labels: found.labels, plan: found.plan, configuration: found.configuration, scheme: found.scheme,
      pool: goldenThreads(), in: file.budget)
    return (found, result)
  }
}

private func checkPreprocessedArrays(_ file: GoldenFile) throws {
  let (_, result) = try GoldenCase.preprocessed(file)
  let shape = result.data.shape
  let slices = try file.doubles("slice_ids").map { Int($0) }
  try file.compare("slice_ids", slices)
  try file.compare("full_shape", shape.extents)
  guard let labels = result.labels else { return file.fail("seg", "no labels") }
  let plane = shape[2] * shape[3]
  var data: [Double] = []
  for channel in 0..<shape[0] {
    for slice in slices {
      let start = (channel * shape[1] + slice) * plane
      data += (start..<start + plane).map { result.data.value($0) }
    }
  }
  try file.compare("data", data)
  try file.compare("seg", slices.flatMap { slice in (slice * plane..<(slice + 1) * plane).map { labels.value($0) } })
  for found in result.locations {
    let name = "loc_" + found.key.values.map(String.init).joined(separator: "_")
    guard try file.has(name) else {
      file.expect(found.count == 0, name, "\(found.count) places, expected none")
      continue
    }
    guard let positions = found.positions else {
      file.fail(name, "no places found")
      continue
    }
    let rows = try file.tensor(name).shape[0]
    let values = positions.elements(Int32.self)
    try file.compare(name, (0..<min(rows, found.count)).flatMap { row in [0] + (0..<3).map { Int(values[row * 3 + $0]) } })
  }
  for name in try file.file().names where name.hasPrefix("loc_") && !file.compared.contains(name) { file.fail(name, "is not a key") }
}

private func checkPreprocessedProperties(_ file: GoldenFile) throws {
  let (found, result) = try GoldenCase.preprocessed(file)
  let expected = try JSON.parse(InputFile.contents(file.path), source: file.path)
  let geometry = found.channels[0].geometry
  var locations = JSONObject()
  for entry in result.locations {
    let positions = entry.positions?.elements(Int32.self)
    let first = (0..<min(5, entry.count)).map { row in
      JSON.integers([0] + (0..<3).map { Int(positions?[row * 3 + $0] ?? 0) })
    }
    locations[entry.key.description] = .object(("count", .integer(entry.count)), ("first5", .array(first)))
  }
  let got = JSON.object(
    ("spacing", .numbers(geometry.spacing.reversed())),
    (
      "sitk_stuff",
      .object(
        ("spacing", .numbers(geometry.spacing)), ("origin", .numbers(geometry.origin)), ("direction", .numbers(geometry.direction)))
    ),
    ("shape_before_cropping", .integers(result.properties.shapeBeforeCropping)),
    ("bbox_used_for_cropping", .array(result.properties.boundingBox.ranges.map { .integers([$0.lowerBound, $0.upperBound]) })),
    ("shape_after_cropping_and_before_resampling", .integers(result.properties.shapeAfterCropping)),
    ("class_locations", .object(locations)), ("data_stats", statistics(result.data)), ("seg_counts", counts(result.labels)))
  file.compare(json: got, expected)
}

private func statistics(_ data: Tensor) -> JSON {
  let count = data.count / data.shape[0]
  var columns: [[Double]] = [[], [], [], []]
  for channel in 0..<data.shape[0] {
    let values = (0..<count).map { data.value(channel * count + $0) }
    let mean = values.reduce(0, +) / Double(count)
    columns[0].append(mean)
    columns[1].append((values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count)).squareRoot())
    columns[2].append(values.min() ?? 0)
    columns[3].append(values.max() ?? 0)
  }
  return .object(
    ("mean", .numbers(columns[0])), ("std", .numbers(columns[1])), ("min", .numbers(columns[2])), ("max", .numbers(columns[3])))
}

private func counts(_ labels: Tensor?) -> JSON {
  var result: [Int: Int] = [:]
  if let labels {
    for value in labels.elements(Int16.self) { result[Int(value), default: 0] += 1 }
  }
  return .object(JSONObject(result.sorted { $0.key < $1.key }.map { (String($0.key), .integer($0.value)) }))
}
