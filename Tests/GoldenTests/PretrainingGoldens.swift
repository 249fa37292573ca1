import Networks
import Platform
import Pretraining
import Tensors
import TestSupport
import Training
import WeightFiles

/// Trajectories of self-supervised pretraining: several iterations with given batches.
let pretrainingGoldens: [GoldenCheck] = [GoldenCheck("ssl_*.safetensors", run: checkTrajectory)]

/// The golden's settings; its architecture is no preset, so its sizes are given.
private func settings(_ file: GoldenFile) throws -> PretrainingSettings {
  guard var config = file.config["config"]?.objectValue, var student = config["student"]?.objectValue, let model = file.config["model"]
  else {
    throw MedDINOError.format("\(file.name): no configuration")
  }
  student["arch"] = .string("vit_small")
  for key in ["embed_dim", "depth", "num_heads"] { student[key] = model[key] }
  config["student"] = .object(student)
  var settings = try PretrainingSettings(.object(config))
  settings.networks.encoder.ropePrecision = .float32
  return settings
}

private func batch(_ file: GoldenFile, _ step: Int) throws -> PretrainingBatch {
  let prefix = "step\(step)."
  let masks = BatchMasks(try file.file().tensor(prefix + "collated_masks", in: file.budget))
  try file.compare(prefix + "mask_indices_list", masks.indices)
  try file.compare(prefix + "masks_weight", masks.weights)
  let gram = prefix + "collated_gram_teacher_crops"
  return PretrainingBatch(
    globalCrops: try file.tensor(prefix + "collated_global_crops"), localCrops: try file.tensor(prefix + "collated_local_crops"),
    gramCrops: try file.has(gram) ? file.tensor(gram) : nil, masks: masks)
}

private func checkTrajectory(_ file: GoldenFile) throws {
  let settings = try settings(file)
  let device = try testDevice()
  let anchor = GoldenParameters(file: file, prefix: "gram0.")
  let model = try SelfDistillation(
    settings.networks, options: settings.losses, student: GoldenParameters(file: file, prefix: "student0."),
    teacher: GoldenParameters(file: file, prefix: "teacher0."), gramTeacher: settings.losses.gram == nil ? nil : anchor, device: device)
  let trainer = try DistillationTrainer(model, schedules: settings.schedules, options: settings.optimizer)
  let tape = Tape(device)
  var reports: [DistillationTrainer.Report] = []
  var noise: [String: [Bool]] = [:]
  for step in 0..<(try file.doubles("sched.lr").count) {
    let inspect: () throws(MedDINOError) -> Void = {
      guard step == 0 else { return }
      for parameter in model.studentParameters {
        let gradient = parameter.gradient?.floatArray() ?? [Float](repeating: 0, count: parameter.shape.count)
        do { try file.compare("step0.grad." + parameter.name, gradient) } catch { file.fail(parameter.name, "\(error)") }
        let largest = gradient.reduce(0) { max($0, abs($1)) }
        noise[parameter.name] = gradient.map { abs($0) < 1e-7 * largest }
      }
    }
    reports.append(try trainer.step(try batch(file, step), seed: nil, on: tape, inspect: inspect))
  }
  try compareReports(file, reports)
  try compareEnd(file, "student_end.", model.studentState, noise)
  try compareEnd(file, "teacher_end.", model.teacherState, noise)
  if let state = model.gramTeacherState, try file.file().names.contains(where: { $0.hasPrefix("gram_end.") }) {
    try compareEnd(file, "gram_end.", state, noise)
  }
  file.expect(trainer.gramUpdates == file.entry["gram_updates"]?.intValue, "Gram updates", "are \(trainer.gramUpdates)")
  for name in try file.file().names where !isInput(name) && !file.compared.contains(name) { file.fail(name, "not compared") }
}

private func isInput(_ name: String) -> Bool {
  name.hasPrefix("student0.") || name.hasPrefix("teacher0.") || name.hasPrefix("gram0.") || name.contains(".collated_")
}

private func compareReports(_ file: GoldenFile, _ reports: [DistillationTrainer.Report]) throws {
  try file.compare("sched.lr", reports.map(\.rates.learningRate))
  try file.compare("sched.wd", reports.map(\.rates.weightDecay))
  try file.compare("sched.momentum", reports.map(\.momentum))
  try file.compare("sched.teacher_temp", reports.map(\.teacherTemperature))
  try file.compare("sched.last_layer_lr", reports.map(\.rates.lastLayerLearningRate))
  for name in reports.first?.losses.named.map(\.name) ?? [] {
    let values = reports.map { report in report.losses.named.first { $0.name == name }?.value ?? .nan }
    let official = "loss." + (name == "total_loss" ? "total" : name)
    if try file.has(official) { try file.compare(official, values) } else { file.fail(official, "the golden does not have it") }
  }
  let norms = reports.flatMap { report in
    ["backbone", "dino_head", "ibot_head"].map { name in report.norms.first { $0.name == name }?.value ?? .nan }
  }
  try file.compare("grad_norms", norms)
}

/// Elementwise as the manifest says, and a root mean square of at most 5e-6 (the model specification, section 12); both without elements
/// whose gradient is rounding noise.
private func compareEnd(
  _ file: GoldenFile, _ prefix: String, _ state: [(name: String, tensor: Tensor)], _ noise: [String: [Bool]]
) throws {
  let names = Set(try file.file().names.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) })
  file.expect(names.isSubset(of: Set(state.map(\.name))), prefix + "names", "lack \(names.subtracting(state.map(\.name)))")
  for entry in state where names.contains(entry.name) {
    let expected = try file.doubles(prefix + entry.name)
    var got = (0..<entry.tensor.count).map { entry.tensor.value($0) }
    if let noisy = noise[entry.name] { for index in got.indices where noisy[index] { got[index] = expected[index] } }
    try file.compare(prefix + entry.name, got)
    let square = zip(got, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(max(got.count, 1))
    file.note(prefix + entry.name + " (root mean square)", square.squareRoot() / 5e-6)
  }
}
