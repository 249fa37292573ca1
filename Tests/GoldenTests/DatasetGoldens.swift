import FineTuning
import Platform
import Segmentation
import WeightFiles

let datasetGoldens: [GoldenCheck] = [
  GoldenCheck("splits/splits.json", run: checkSplitIndices),
  GoldenCheck("preprocessed/*/splits_final.json", run: checkSplits),
  GoldenCheck("planning/planning2d.json", run: checkPlanning),
  GoldenCheck("preprocessed/*/dataset_fingerprint.json", run: checkFingerprint),
  GoldenCheck("preprocessed/*/nnUNetPlans.json", run: checkPlans),
]

private func ints(_ json: JSON?) -> [Int] { json?.arrayValue?.compactMap(\.intValue) ?? [] }
private func numbers(_ json: JSON?) -> [Double] { json?.arrayValue?.compactMap(\.doubleValue) ?? [] }

/// Identifiers that sort as their numbers do.
private func identifiers(_ count: Int) -> [String] { (0..<count).map { "case_" + String(100_000 + $0) } }

private func checkSplitIndices(_ file: GoldenFile) throws {
  let json = try JSON.parse(InputFile.contents(file.path), source: file.path)
  for (text, expected) in json["val_indices_per_fold"]?.objectValue?.entries ?? [] {
    let cases = identifiers(Int(text) ?? 0)
    let splits = try DatasetSplits(cases: cases)
    let got = splits.folds.map { fold in JSON.integers(cases.indices.filter { fold.validation.contains(cases[$0]) }) }
    file.compare(json: .array(got), expected, path: "val_indices_per_fold/" + text)
  }
  for (name, expected) in json["fallback_80_20_train_indices"]?.objectValue?.entries ?? [] {
    // "fold7_n33": the draw of a fold beyond those of the splits.
    let parts = name.split(separator: "_").map { Int($0.filter(\.isNumber)) ?? 0 }
    let cases = identifiers(parts[1])
    let split = try DatasetSplits(cases: cases).split(.number(parts[0]), cases: cases)
    let got = split.train.compactMap { cases.firstIndex(of: $0) }
    file.compare(json: .integers(got), expected, path: "fallback_80_20_train_indices/" + name)
    file.expect(
      split.validation == cases.filter { !split.train.contains($0) }, "fallback_80_20_train_indices/\(name)/rest",
      "is \(split.validation)")
  }
  for (name, expected) in json["rng"]?.objectValue?.entries ?? [] { checkDraws(file, name, expected) }
}

private func checkDraws(_ file: GoldenFile, _ name: String, _ expected: JSON) {
  func number(after tag: String) -> Int? {
    let part = name.split(separator: "_").first { $0.hasPrefix(tag) && Int($0.dropFirst(tag.count)) != nil }
    return part.flatMap { Int($0.dropFirst(tag.count)) }
  }
  guard let seed = number(after: "seed"), let count = expected.arrayValue?.count else { return file.fail("rng/\(name)", "has no seed") }
  var random = LegacyRandom(seed: UInt32(seed))
  let got: [Int]
  if name.hasPrefix("choice_replace"), let population = number(after: "pop") {
    got = (0..<count).map { _ in random.bounded(population - 1) }
  } else if name.hasPrefix("choice_noreplace"), let population = number(after: "pop") {
    got = Array(random.permutation(population).prefix(count))
  } else if name.hasSuffix("first_uint32") {
    got = (0..<count).map { _ in Int(random.next()) }
  } else {
    return file.fail("rng/\(name)", "is a draw that this check does not know")
  }
  file.compare(json: .integers(got), expected, path: "rng/" + name)
}

/// The raw dataset that a file "preprocessed/<dataset>/…" was made from.
private func rawDataset(_ file: GoldenFile) throws -> RawDataset {
  try RawDataset(file.folder + "/raw/" + file.name.split(separator: "/")[1])
}

private func checkSplits(_ file: GoldenFile) throws {
  let expected = try JSON.parse(InputFile.contents(file.path), source: file.path)
  file.compare(json: try DatasetSplits(cases: rawDataset(file).cases.map(\.identifier)).json, expected)
}

private func checkPlanning(_ file: GoldenFile) throws {
  let json = try JSON.parse(InputFile.contents(file.path), source: file.path)
  for (index, item) in (json["plans"]?.arrayValue ?? []).enumerated() {
    guard let input = item["input"], let expected = item["output"] else { return file.fail("plans/\(index)", "has no input or output") }
    let shapes = input["shapes_after_crop"]?.arrayValue?.map(ints) ?? []
    let fingerprint = DatasetFingerprint(
      spacings: input["spacings"]?.arrayValue?.map(numbers) ?? [], shapesAfterCrop: shapes, intensities: [],
      medianRelativeSizeAfterCropping: input["median_relative_size_after_cropping"]?.doubleValue ?? 0)
    let planner = try ExperimentPlanner(
      fingerprint, channelNames: input["channel_names"]?.arrayValue?.compactMap(\.stringValue) ?? [],
      labelEntries: input["num_labels_entries"]?.intValue ?? 0, trainingCases: input["numTraining"]?.intValue ?? 0)
    var document = PlansDocument(planner, fingerprint: fingerprint, datasetName: "golden", reader: "SimpleITKIO")
    let upscaled = try document.addUpscaled(896)
    let written = try Plan(document.json)
    let got = JSON.object(
      ("fullres_target_spacing", .numbers(planner.targetSpacing)), ("transpose_forward", .integers(written.transposeForward)),
      ("transpose_backward", .integers(written.transposeBackward)), ("median_shape_transposed", .numbers(planner.medianShape)),
      ("spacing", .numbers(planner.spacing)), ("patch_size", .integers(planner.patchSize)),
      ("batch_size", .integer(planner.batchSize)), ("strides", .array(planner.topology.strides.map(JSON.integers))),
      ("kernel_sizes", .array(planner.topology.kernels.map(JSON.integers))),
      ("features_per_stage", .integers(planner.topology.features)),
      ("normalization_schemes", .array(planner.normalization.map { .string($0.rawValue) })),
      ("use_mask_for_norm", .array(planner.useMaskForNorm.map(JSON.bool))),
      ("vram_estimate", .integer(Int(planner.memoryEstimate))),
      ("spacing_2d_896", .numbers(try written.configuration(upscaled).spacing)))
    file.compare(json: got, expected, path: "plans/\(index)")
  }
  for (index, item) in (json["topology"]?.arrayValue ?? []).enumerated() {
    let topology = UNetTopology(spacing: numbers(item["spacing"]), patch: numbers(item["patch"]))
    let got = JSON.object(
      ("spacing", .numbers(numbers(item["spacing"]))), ("patch", .numbers(numbers(item["patch"]))),
      ("num_pool_per_axis", .integers(topology.poolings)), ("strides", .array(topology.strides.map(JSON.integers))),
      ("kernels", .array(topology.kernels.map(JSON.integers))), ("padded_patch", .integers(topology.patchSize)),
      ("divisible_by", .integers(topology.divisors)))
    file.compare(json: got, item, path: "topology/\(index)")
  }
}

/// The draw is reproduced, so the manifest's tighter tolerances for that hold.
private func checkFingerprint(_ file: GoldenFile) throws {
  let expected = try JSON.parse(InputFile.contents(file.path), source: file.path)
  let survey = try DatasetSurvey(rawDataset(file), pool: goldenThreads(), in: file.budget)
  guard let fingerprint = survey.fingerprint else {
    return file.fail("problems", survey.problems.map(\.description).joined(separator: "; "))
  }
  file.compare(json: fingerprint.json, expected)
  let key = "foreground_intensity_properties_per_channel"
  for (channel, properties) in expected[key]?.objectValue?.entries ?? [] {
    for (name, value) in properties.objectValue?.entries ?? [] {
      let path = "\(key)/\(channel)/\(name)"
      guard let limit = reproducedLimit(file, path), let number = value.doubleValue,
        let got = fingerprint.json[key]?[channel]?[name]?.doubleValue
      else { return file.fail(path, "has no value or no tolerance for a reproduced draw") }
      file.compare(path, [got], expected: [number], GoldenTolerance(relative: limit))
    }
  }
}

private func reproducedLimit(_ file: GoldenFile, _ path: String) -> Double? {
  let rule = file.entry["rules"]?.arrayValue?.first { matches($0["match"]?.stringValue ?? "*", path) }
  return rule?["reproduced_draw_rtol"]?.doubleValue
}

/// Two-dimensional configurations of the official plans; the others are nnU-Net's own business.
private func checkPlans(_ file: GoldenFile) throws {
  var expected = try JSON.parse(InputFile.contents(file.path), source: file.path)
  let dataset = try rawDataset(file)
  let fingerprint = try DatasetFingerprint(file: file.folder + "/preprocessed/" + dataset.name + "/dataset_fingerprint.json")
  let planner = try ExperimentPlanner(fingerprint, dataset)
  var document = PlansDocument(planner, fingerprint: fingerprint, datasetName: dataset.name, reader: dataset.reader.rawValue)
  guard var root = expected.objectValue, let configurations = root["configurations"]?.objectValue else {
    return file.fail("configurations", "missing")
  }
  let flat = configurations.entries.filter { ($0.value["patch_size"]?.arrayValue?.count ?? 0) == 2 }
  for (name, value) in flat where value["inherits_from"] != nil {
    let made = try document.addUpscaled(value["patch_size"]?.arrayValue?.first?.intValue ?? 0)
    file.expect(made == name, "configurations/\(name)", "is called \(made)")
  }
  root["configurations"] = .object(JSONObject(flat.map { ($0.key, $0.value) }))
  expected = .object(root)
  file.compare(json: document.json, expected)
  let keys = document.json["configurations"]?["2d"]?.objectValue?.keys ?? []
  file.expect(keys == configurations["2d"]?.objectValue?.keys, "configurations/2d", "keys are \(keys)")
}
