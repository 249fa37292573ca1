import Platform
import TestSupport
import Testing
import WeightFiles

private let allChecks: [GoldenCheck] = [
  modelGoldens,
  rotationGoldens,
  checkpointOutputGoldens,
  checkpointGoldens,
  imagingGoldens,
  pipelineGoldens,
  predictionGoldens,
  encoderGradientGoldens,
  primusGradientGoldens,
  fineTuningGoldens,
  trainingCoreGoldens,
  evaluationGoldens,
  augmentationGoldens,
  datasetGoldens,
  lossGoldens,
  distillationGoldens,
  maskGoldens,
  pretrainingGoldens,
].flatMap { $0 }

/// Folders that may hold goldens, in order: `MEDDINO_GOLDEN` alone when it is set, else the copy in the tests, then the whole set
/// beside a developer's checkout.
private var roots: [String] {
  if let chosen = environment("MEDDINO_GOLDEN") { return [chosen] }
  return [projectRoot + "/Tests/Golden", projectRoot + "/../shared/golden"].filter { FileKind.of($0) == .directory }
}

/// Prints one line per file of the manifests and fails when any file fails.
@Test func goldens() throws {
  var seen: Set<String> = []
  var failed = 0
  var counts = (passed: 0, uncovered: 0, absent: 0)
  for root in roots {
    for (folder, manifest) in [("model", "manifest.json"), ("nnunet", "manifest-nnunet.json")] {
      let path = "\(root)/\(folder)/\(manifest)"
      guard FileKind.of(path) == .regular else { continue }
      let listing = try JSON.parse(InputFile.contents(path), source: path)
      for entry in listing["files"]?.arrayValue ?? [] {
        guard let name = entry["file"]?.stringValue else { continue }
        let key = folder + "/" + name
        let file = GoldenFile(name: name, folder: root + "/" + folder, entry: entry)
        if seen.contains(key) { continue }
        guard FileKind.of(file.path) != .missing else {
          counts.absent += 1
          continue
        }
        seen.insert(key)
        switch run(file) {
        case .passed(let text):
          counts.passed += 1
          print("passed       \(key)  \(text)")
        case .failed(let text):
          failed += 1
          print("FAILED       \(key)  \(text)")
        case .uncovered:
          counts.uncovered += 1
          print("not covered  \(key)")
        }
      }
    }
  }
  if roots.isEmpty || seen.isEmpty { print("goldens: no folder found, nothing compared") }
  print("goldens: \(counts.passed) passed, \(failed) failed, \(counts.uncovered) not covered yet")
  #expect(failed == 0)
}

private enum Outcome { case passed(String), failed(String), uncovered }

private func run(_ file: GoldenFile) -> Outcome {
  if file.entry["tolerance"]?.stringValue == "input" { return .passed("input") }
  let checks = allChecks.filter { check in check.files.contains { matches($0, file.name) } }
  if checks.isEmpty { return .uncovered }
  for check in checks {
    do { try check.run(file) } catch { return .failed("stopped: \(error)") }
  }
  if file.compared.isEmpty { return .uncovered }
  let summary = "\(file.compared.count) compared, worst \(file.worst.name) at \(file.short(file.worst.error)) of its tolerance"
  return file.failures.isEmpty ? .passed(summary) : .failed("\(file.failures.count) of \(file.compared.count): \(file.failures[0])")
}
