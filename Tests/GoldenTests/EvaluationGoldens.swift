import Imaging
import MedDINO
import Platform
import Segmentation
import Tensors
import TestSupport
import WeightFiles

let evaluationGoldens: [GoldenCheck] = [
  GoldenCheck("evaluation/summary_*.json", run: checkSummary),
  GoldenCheck("evaluation/meddino_metrics.json", run: checkMetrics),
  GoldenCheck("evaluation/surface.safetensors", run: checkSurfaces),
  GoldenCheck("postprocess/largest_component.safetensors", run: checkLargestComponent),
  GoldenCheck("postprocess/determine/postprocessing.json", run: checkPostprocessing),
]

private func parsed(_ file: GoldenFile) throws -> JSON { try JSON.parse(InputFile.contents(file.path), source: file.path) }
private func fileName(_ path: String?) -> String { path?.split(separator: "/").last.map(String.init) ?? "" }

/// "1", "(1, 2, 3)", "(2,)" as nnU-Net writes the keys of labels and regions.
private func region(_ key: String) -> LabelScheme.Region {
  let values = key.split { !$0.isNumber }.compactMap { Int($0) }
  return .init(name: key, values: values, isList: key.hasPrefix("("))
}

/// The labels or regions in their order, and the ignore label, as the manifest's description tells them.
private func evaluationOptions(_ file: GoldenFile) throws -> EvaluationOptions {
  let text = file.entry["description"]?.stringValue ?? ""
  guard let open = text.firstIndex(of: "["), let close = text.lastIndex(of: "]") else {
    throw MedDINOError.format("\(file.name): the description lists no labels or regions")
  }
  var options = EvaluationOptions()
  options.structures = []
  var rest = text[text.index(after: open)..<close]
  while let start = rest.firstIndex(where: { $0.isNumber || $0 == "(" }) {
    let end = rest[start] == "(" ? rest[start...].firstIndex(of: ")").map { rest.index(after: $0) } : rest[start...].firstIndex(of: ",")
    options.structures?.append(region(String(rest[start..<(end ?? rest.endIndex)])))
    rest = rest[(end ?? rest.endIndex)...]
  }
  if let ignore = text.firstRange(of: "ignore_label=") { options.ignoreLabel = Int(text[ignore.upperBound...].prefix { $0.isNumber }) }
  return options
}

private func evaluated(_ file: GoldenFile, _ options: EvaluationOptions, jobs: Int = 1) throws -> Evaluation {
  let folder = file.folder + "/evaluation"
  let pairs = try CasePair.find(predictions: [folder + "/pred"], reference: folder + "/ref")
  return try Evaluation.run(pairs, options: options, jobs: jobs, context: Context(threads: 2))
}

private func checkSummary(_ file: GoldenFile) throws {
  let expected = try parsed(file)
  let evaluation = try evaluated(file, try evaluationOptions(file))
  // File names are shortened in the golden.
  var rows: [JSON] = []
  for row in evaluation.summary["metric_per_case"]?.arrayValue ?? [] {
    var object = row.objectValue ?? JSONObject()
    object["prediction_file"] = .string("pred/" + fileName(row["prediction_file"]?.stringValue))
    object["reference_file"] = .string("ref/" + fileName(row["reference_file"]?.stringValue))
    rows.append(.object(object))
  }
  var summary = evaluation.summary.objectValue ?? JSONObject()
  summary["metric_per_case"] = .array(rows)
  file.compare(json: .object(summary), expected)
  file.expect(keys(.object(summary)) == keys(expected), "keys", "are in another order: \(keys(.object(summary)))")
}

/// All keys of a tree in the order of the text.
private func keys(_ json: JSON) -> [String] {
  switch json {
  case .object(let object): object.entries.flatMap { [$0.key] + keys($0.value) }
  case .array(let values): values.flatMap(keys)
  default: []
  }
}

private func checkMetrics(_ file: GoldenFile) throws {
  let expected = try parsed(file)
  let classes = expected["per_class"]?.objectValue?.entries ?? []
  var options = EvaluationOptions()
  options.classes = Array(1...classes.count)
  for jobs in [1, 3] {
    let evaluation = try evaluated(file, options, jobs: jobs)
    let lines = evaluation.metricsCSV.split(separator: "\n").map {
      $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }
    let rows = lines.dropFirst().map { line in
      JSON.object(
        JSONObject(zip(lines[0], line).map { ($0, $0 == "filename" ? .string($1) : .number($1.isEmpty ? .nan : Double($1) ?? -1)) }))
    }
    file.compare(json: .array(rows.dropLast(2)), expected["per_case"] ?? .null, path: "per_case")
    file.expect(
      rows.first.map(keys) == expected["per_case"]?.arrayValue?.first.map(keys), "columns", "are \(lines[0])")
    let statistics = evaluation.metricsJSON
    for (index, entry) in classes.enumerated() {
      file.compare(json: statistics["per_class"]?["class\(index + 1)"] ?? .null, entry.value, path: "per_class/" + entry.key)
      for metric in ["dice", "hd95", "nsd"] {
        let column = "\(metric)_class\(index + 1)"
        let tail = rows.suffix(2).compactMap { $0[column] }
        file.compare(
          json: .object(("mean", tail[0]), ("std", tail[1])), entry.value[metric] ?? .null, path: "csv/\(entry.key)/\(metric)")
      }
    }
    file.compare(json: statistics["classwise_average"] ?? .null, expected["classwise_average"] ?? .null, path: "classwise_average")
  }
}

/// A [z, y, x] array of 0 and 1, or of labels.
private func labels(_ name: String, _ file: GoldenFile, spacing: [Double] = [1, 1, 1]) throws -> Volume {
  let tensor = try file.file().tensor(name, in: file.budget)
  let shape = tensor.shape
  let volume = try Volume(
    allocating: .uint8, geometry: Geometry(dims: [shape[2], shape[1], shape[0]], spacing: spacing), in: file.budget)
  volume.mutableBase.copyMemory(from: tensor.pointer, byteCount: tensor.byteCount)
  return volume
}

private func checkSurfaces(_ file: GoldenFile) throws {
  let pool = try goldenThreads()
  for item in file.entry["cases"]?.arrayValue ?? [] {
    guard let name = item["name"]?.stringValue else { continue }
    let spacing = Array((item["spacing_zyx"]?.arrayValue?.compactMap(\.doubleValue) ?? []).reversed())
    let (reference, prediction) = (try labels(name + ".ref", file, spacing: spacing), try labels(name + ".pred", file))
    let nsd = item.objectValue?.entries.filter { $0.key.hasPrefix("nsd_") } ?? []
    for (key, value) in nsd {
      var options = EvaluationOptions()
      options.structures = [region("1")]
      options.tolerance = Double(key.dropFirst(4)) ?? -1
      let found = try CaseEvaluation(reference: reference, prediction: prediction, options: options, pool: pool, in: file.budget)
      let scores = found.surfaces([1])
      file.note("\(name).\(key)", (scores.surfaceDice - (value.doubleValue ?? .nan)).magnitude / 1e-6)
      let expected = item["hd95"]?.doubleValue ?? .nan
      file.note(name + ".hd95", scores.hausdorff95.isNaN && expected.isNaN ? 0 : (scores.hausdorff95 - expected).magnitude / 1e-5)
    }
    // Without a predicted voxel there are no distances; the file has placeholders.
    if try file.doubles(name + ".pred").allSatisfy({ $0 == 0 }) { continue }
    let distances = try SurfaceDistances(
      reference: reference, prediction: prediction, values: [1], in: VoxelBox(dims: reference.geometry.dims), pool: pool,
      budget: file.budget)
    try file.compare(name + ".dist_pred_to_ref_sorted", distances.toReference.floatArray().sorted())
    try file.compare(name + ".dist_ref_to_pred_sorted", distances.toPrediction.floatArray().sorted())
  }
}

private func checkLargestComponent(_ file: GoldenFile) throws {
  let pool = try goldenThreads()
  for output in try file.file().names where output.hasSuffix(".out") {
    let name = String(output.dropLast(4))
    let item = file.entry["cases"]?.arrayValue?.first { $0["name"]?.stringValue == name }
    // Cases that the manifest does not list are named after their label.
    let wanted = item?["labels_or_regions"] ?? JSON.integer(Int(name.drop { !$0.isNumber }.prefix { $0.isNumber }) ?? -1)
    let values = wanted.intValue.map { [$0] } ?? wanted.arrayValue?.compactMap(\.intValue) ?? []
    let volume = try labels(String(name.prefix { $0 != "." }) + ".in", file)
    try LargestComponent.keep(values, in: volume, pool: pool, budget: file.budget)
    let d = volume.geometry.dims
    try file.compare(output, (0..<d.reduce(1, *)).map { volume.value($0 % d[0], $0 / d[0] % d[1], $0 / d[0] / d[1]) })
  }
}

private func checkPostprocessing(_ file: GoldenFile) throws {
  let expected = try parsed(file)
  let folder = String(file.path.dropLast("/postprocessing.json".count))
  var options = EvaluationOptions()
  options.structures = expected["input_folder"]?["mean"]?.objectValue?.keys.map(region)
  let context = try Context(threads: 2)
  let pairs = try CasePair.find(predictions: [folder + "/pred"], reference: folder + "/ref")
  try withTemporaryFolder { output in
    let search = try PostprocessingSearch.run(pairs, options: options, output: output, context: context)
    let written = try JSON.parse(InputFile.contents(output + "/postprocessing.json"), source: "postprocessing.json")
    file.compare(json: written, expected)
    file.expect(keys(written) == keys(expected), "keys", "are in another order: \(keys(written))")
    file.expect(try Postprocessing(expected) == search.postprocessing, "steps", "read back differ")
    // The same steps applied to the predictions, by the search and by the file.
    let count = try Postprocessing(expected).apply(to: folder + "/pred", writingTo: output + "/applied", context: context)
    file.expect(count == pairs.count, "applied", "\(count) files")
    for pair in pairs {
      let want = try NIfTI.read(folder + "/postprocessed/" + pair.name, in: file.budget)
      for place in ["postprocessed", "applied"] {
        let got = try NIfTI.read("\(output)/\(place)/\(pair.name)", in: file.budget)
        let difference = try LabelPairs(reference: want, prediction: got, pool: context.pool, in: file.budget)
        let differing = difference.entries.filter { $0.reference != $0.prediction }.reduce(0) { $0 + $1.voxels }
        file.expect(
          differing == 0 && got.dtype == want.dtype && got.geometry == want.geometry, "\(place)/\(pair.name)", "\(differing) voxels")
      }
    }
  }
}
