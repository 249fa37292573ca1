import Platform
import Pretraining
import Tensors
import TestSupport
import WeightFiles

/// iBOT masks: exact counts, the invariants of a batch, and statistics of the shapes.
let maskGoldens: [GoldenCheck] = [GoldenCheck("masking.safetensors", run: checkMasks)]

private func checkMasks(_ file: GoldenFile) throws {
  for (name, config) in file.config.objectValue?.entries ?? [] { try checkCounts(file, name, config) }
  for target in [20, 59, 98] { try checkShapes(file, target: target) }
  for name in try file.file().names where !file.compared.contains(name) && !name.hasSuffix("example_masks") {
    file.fail(name, "not compared")
  }
}

private func checkCounts(_ file: GoldenFile, _ name: String, _ config: JSON) throws {
  let ratio = config["ratio"]?.arrayValue?.compactMap(\.doubleValue) ?? []
  guard let crops = config["masks"]?.intValue, let probability = config["probability"]?.doubleValue, ratio.count == 2,
    let size = config["crop"]?.intValue, let patch = config["patch"]?.intValue
  else { return file.fail(name, "no options") }
  let block = BlockMask(cropSize: size, patchSize: patch)
  file.expect(block.largestBlock == config["max_block"]?.doubleValue, name + " largest block", "is \(block.largestBlock)")
  var options = MaskOptions()
  (options.sampleProbability, options.ratio) = (probability, ratio[0]...ratio[1])
  let patches = block.rows * block.columns
  let counts = options.counts(crops: crops, patches: patches)
  try file.compare("counts.\(name)", [Int](repeating: 0, count: crops - counts.count) + counts.sorted())
  try file.compare("counts.\(name).upperbound", [counts.reduce(0, +)])

  let example = BatchMasks(try file.file().tensor("counts.\(name).example_masks", in: file.budget))
  try file.compare("counts.\(name).example_indices", example.indices)
  try file.compare("counts.\(name).example_weights", example.weights)

  var random = CounterRandom(seed: 5, purpose: "masks", step: UInt64(crops))
  let own = try BatchMasks.draw(block, crops: crops, options, &random, in: file.budget)
  let masked = (0..<crops).map { crop in own.indices.filter { $0 / patches == crop }.count }
  try file.compare("counts.\(name)", masked.sorted())
}

/// The frequency of every position, neighbouring pairs and the fullest row, over as many masks as the golden's.
private func checkShapes(_ file: GoldenFile, target: Int) throws {
  let (masks, side) = (1500, 14)
  let block = BlockMask(cropSize: side * 16, patchSize: 16)
  var occupancy = [Double](repeating: 0, count: side * side)
  var (pairs, rows): ([Double], [Double]) = ([], [])
  for item in 0..<masks {
    var random = CounterRandom(seed: 6, purpose: "masks", step: UInt64(target), item: UInt64(item))
    let mask = block.draw(target, &random).map(Double.init)
    file.expect(mask.reduce(0, +) == Double(target), "patches of a mask")
    var (neighbours, fullest) = (0.0, 0.0)
    for y in 0..<side {
      for x in 0..<side where mask[y * side + x] == 1 {
        if x + 1 < side { neighbours += mask[y * side + x + 1] }
        if y + 1 < side { neighbours += mask[(y + 1) * side + x] }
      }
      fullest = max(fullest, mask[y * side..<(y + 1) * side].reduce(0, +))
    }
    for place in mask.indices { occupancy[place] += mask[place] / Double(masks) }
    pairs.append(neighbours)
    rows.append(fullest)
  }
  let expected = try file.doubles("stat.t\(target).occupancy_mean")
  // Two samples of this size, and one of the 196 positions is always the worst: five standard errors of their difference.
  let worst = zip(occupancy, expected).map { own, other in
    let p = (own + other) / 2
    return abs(own - other) / (5 * (2 * p * (1 - p) / Double(masks)).squareRoot())
  }
  file.note("stat.t\(target).occupancy_mean", worst.max() ?? .infinity)
  try compareMean(file, "stat.t\(target).adjacent_pairs_mean_std", pairs)
  try compareMean(file, "stat.t\(target).max_row_mean_std", rows)
}

/// [mean, standard error, deviation]: means within five standard errors of both samples, deviations within a fifth.
private func compareMean(_ file: GoldenFile, _ name: String, _ values: [Double]) throws {
  let expected = try file.doubles(name)
  let mean = values.reduce(0, +) / Double(values.count)
  let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)
  let error = (variance / Double(values.count) + expected[1] * expected[1]).squareRoot()
  file.note(name, abs(mean - expected[0]) / (5 * error))
  file.note(name, abs(variance.squareRoot() - expected[2]) / (0.2 * expected[2]))
}
