import Imaging
import Platform
import Segmentation
import Tensors
import WeightFiles

let predictionGoldens: [GoldenCheck] = [
  GoldenCheck("predict/*__*.safetensors", run: checkPrediction),
  GoldenCheck("predict/*/final/*.nii.gz", run: checkFinalFile),
]

/// The manifest's stand-in network: two 3×3 convolutions with zero padding and a rectifier between them.
private final class StandInNetwork: TileNetwork {
  private struct Layer: Sendable {
    let weights: [Float]
    let bias: [Float]
    let inputs: Int
  }
  private let first: Layer
  private let second: Layer
  var classes: Int { second.bias.count }
  var inputChannels: Int { first.inputs }

  init(_ weights: SafeTensorsFile, fold: Int, in budget: MemoryBudget) throws {
    func layer(_ index: Int) throws -> Layer {
      let kernel = try weights.tensor("fold\(fold).w\(index)", in: budget)
      let bias = try weights.tensor("fold\(fold).b\(index)", in: budget)
      return Layer(weights: kernel.floatArray(), bias: bias.floatArray(), inputs: kernel.shape[1])
    }
    first = try layer(1)
    second = try layer(2)
  }

  func logits(
    tile: UnsafePointer<Float>, height: Int, width: Int, into logits: UnsafeMutablePointer<Float>, control: RunControl
  ) throws(MedDINOError) {
    try control.check()
    var middle = [Float](repeating: 0, count: first.bias.count * height * width)
    middle.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      convolve(first, tile, height, width, base)
      for i in 0..<buffer.count { base[i] = max(base[i], 0) }
      convolve(second, base, height, width, logits)
    }
  }

  private func convolve(_ layer: Layer, _ input: UnsafePointer<Float>, _ height: Int, _ width: Int, _ out: UnsafeMutablePointer<Float>) {
    for o in layer.bias.indices {
      let plane = out + o * height * width
      plane.update(repeating: layer.bias[o], count: height * width)
      for i in 0..<layer.inputs {
        for tap in 0..<9 {
          let weight = layer.weights[(o * layer.inputs + i) * 9 + tap]
          let (dy, dx) = (tap / 3 - 1, tap % 3 - 1)
          for y in max(0, -dy)..<min(height, height - dy) {
            let source = input + (i * height + y + dy) * width + dx
            for x in max(0, -dx)..<min(width, width - dx) { plane[y * width + x] += weight * source[x] }
          }
        }
      }
    }
  }
}

/// A case "<id>__<configuration>__<mirror|nomirror>__folds<digits>" with everything to predict it.
private struct Prediction {
  let found: GoldenCase
  let networks: [any TileNetwork]
  let mirrorAxes: [Int]

  init(_ file: GoldenFile, dataset: String, id: String, configuration: String, mirror: Bool, folds: [Int]) throws {
    let folder = dataset.contains("901") ? "imagesTs" : "imagesTr"
    found = try GoldenCase(file, dataset: dataset, configuration: configuration, id: id, folder: folder)
    let weights = try file.file("predict/\(dataset)/standin_weights.safetensors")
    networks = try folds.map { try StandInNetwork(weights, fold: $0, in: file.budget) }
    mirrorAxes = mirror ? [0, 1] : []
  }

  /// Labels and probabilities on the grid of the file, as [z, y, x] and [heads, z, y, x].
  func run(_ file: GoldenFile) throws -> (labels: Volume, probabilities: Volume) {
    let job = try VolumeSegmentation(plan: found.plan, configuration: found.configuration, scheme: found.scheme, networks: networks)
    let geometry = found.channels[0].geometry
    let labels = try Volume(allocating: .uint8, geometry: geometry, in: file.budget)
    let probabilities = try Volume(allocating: .float32, channels: found.scheme.heads.count, geometry: geometry, in: file.budget)
    var options = SegmentationOptions()
    options.mirrorAxes = mirrorAxes
    _ = try job.run(found.channels, labels: labels, probabilities: probabilities, options: options, pool: goldenThreads(), in: file.budget)
    return (labels, probabilities)
  }
}

private func checkPrediction(_ file: GoldenFile) throws {
  let parts = file.name.split(separator: "/").map(String.init)
  let words = parts[2].split(separator: ".")[0].components(of: "__")
  let folds = words[3].dropFirst(5).compactMap { $0.wholeNumberValue }
  let prediction = try Prediction(
    file, dataset: parts[1], id: words[0], configuration: words[1], mirror: words[2] == "mirror", folds: folds)
  try checkLogits(file, prediction)

  let (labels, probabilities) = try prediction.run(file)
  let values = withExtendedLifetime(labels) {
    (0..<labels.geometry.voxelCount).map { Int(labels.base.load(fromByteOffset: $0, as: UInt8.self)) }
  }
  try file.compare("segmentation", values)
  try file.compare("segmentation_fp32", values)
  let ids = try file.doubles("probabilities_z_ids").map { Int($0) }
  let dims = labels.geometry.dims
  var scores: [Double] = []
  for head in 0..<probabilities.channels {
    for z in ids {
      for y in 0..<dims[1] {
        for x in 0..<dims[0] { scores.append(probabilities.value(x, y, z, channel: head)) }
      }
    }
  }
  try file.compare("probabilities", scores)
}

private func checkLogits(_ file: GoldenFile, _ prediction: Prediction) throws {
  let found = prediction.found
  let pool = try goldenThreads()
  let preparation = try CasePreparation(
    found.channels, plan: found.plan, configuration: found.configuration, pool: pool, in: file.budget, control: RunControl())
  let segmenter = try SliceSegmenter(
    networks: prediction.networks, rows: preparation.shape[1], columns: preparation.shape[2], patch: found.configuration.patchSize,
    mirrorAxes: prediction.mirrorAxes, pool: pool, in: file.budget)
  try file.compare("logits_full_shape", [segmenter.classes] + preparation.shape)
  let ids = try file.doubles("logits_slice_ids").map { Int($0) }
  let plane = preparation.shape[1] * preparation.shape[2]
  var inputs: [Float] = []
  var slices: [[Float]] = []
  for id in ids {
    preparation.slice(id, into: segmenter.input)
    if inputs.isEmpty { inputs = (0..<preparation.sliceFloats).map { segmenter.input[$0] } }
    var progress = TileProgress(RunControl(), total: 1)
    try segmenter.segment(progress: &progress)
    slices.append((0..<segmenter.classes).flatMap { c in (0..<plane).map { segmenter.logits[c * segmenter.planeStride + $0] } })
  }
  // Stored as [classes, slices, rows, columns].
  func stacked(_ count: Int) -> [Float] {
    (0..<segmenter.classes).flatMap { c in slices.prefix(count).flatMap { $0[c * plane..<(c + 1) * plane] } }
  }
  try file.compare("logits_half", stacked(ids.count))
  if try file.has("logits_float32") { try file.compare("logits_float32", stacked(1)) }
  if try file.has("input") { try file.compare("input", inputs) }
}

private func checkFinalFile(_ file: GoldenFile) throws {
  let parts = file.name.split(separator: "/").map(String.init)
  let id = parts[3].split(separator: ".").map(String.init)[0]
  let prediction = try Prediction(file, dataset: parts[1], id: id, configuration: "2d", mirror: true, folds: [0])
  let labels = try prediction.run(file).labels
  let expected = try NIfTI.read(file.path, in: file.budget)
  func values(_ volume: Volume) -> [Double] {
    let d = volume.geometry.dims
    return (0..<volume.geometry.voxelCount).map { volume.value($0 % d[0], $0 / d[0] % d[1], $0 / d[0] / d[1]) }
  }
  file.expect(labels.geometry.dims == expected.geometry.dims, "voxels/dims")
  file.compare("voxels", values(labels), expected: values(expected), file.tolerance("voxels"))
  let (a, b) = (labels.geometry, expected.geometry)
  file.compare("header", a.spacing + a.origin + a.direction, expected: b.spacing + b.origin + b.direction, file.tolerance("header"))
}

extension Substring {
  /// The parts between occurrences of a two-character separator.
  fileprivate func components(of separator: String) -> [String] {
    var result: [String] = [""]
    var rest = self
    while let character = rest.first {
      if rest.hasPrefix(separator) {
        result.append("")
        rest = rest.dropFirst(separator.count)
      } else {
        result[result.count - 1].append(character)
        rest = rest.dropFirst()
      }
    }
    return result
  }
}
