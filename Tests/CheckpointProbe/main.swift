// Writes the files of a training run, for tests that kill it or take its disk away.
//
//   CheckpointProbe loop PATH          saves again and again; every tensor of save number n holds the value n
//   CheckpointProbe limit PATH BYTES   one save while no file may grow beyond BYTES; prints the error
//   CheckpointProbe metrics PATH BYTES writes metrics until the file may not grow; prints the error
internal import Glibc
internal import Platform
internal import Tensors
internal import Training
internal import WeightFiles

private func save(_ number: Int, _ tensors: [Tensor], to path: String) throws(MedDINOError) {
  for tensor in tensors { tensor.floats.update(repeating: Float(number)) }
  var state = CheckpointState(architecture: .string("probe"))
  state.step = number
  let parameters = tensors.enumerated().map { Parameter("p\($0.offset)", $0.element) }
  try TrainingCheckpoint.save(state, CheckpointTensors(parameters: parameters), to: path)
}

private func limitFiles(to bytes: UInt) {
  signal(SIGXFSZ, SIG_IGN)
  var limit = rlimit(rlim_cur: bytes, rlim_max: bytes)
  setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
}

private func run(_ arguments: [String]) throws(MedDINOError) {
  let budget = MemoryBudget()
  var tensors: [Tensor] = []
  for _ in 0..<4 { tensors.append(try Tensor([256, 512], in: budget)) }
  guard arguments.count >= 3 else { throw .invalid("usage: loop PATH | limit PATH BYTES | metrics PATH BYTES") }
  if arguments[1] == "limit", arguments.count == 4, let bytes = UInt(arguments[3]) {
    limitFiles(to: bytes)
    try save(2, tensors, to: arguments[2])
    return
  }
  if arguments[1] == "metrics", arguments.count == 4, let bytes = UInt(arguments[3]) {
    limitFiles(to: bytes)
    let stream = try MetricsStream(arguments[2])
    for step in 1...10_000 { try stream.write(MetricsRecord(.step, step: step, epoch: 0)) }
    return
  }
  var number = 1
  while true {
    try save(number, tensors, to: arguments[2])
    number += 1
  }
}

do throws(MedDINOError) { try run(CommandLine.arguments) } catch {
  print("\(error.kind): \(error.message)")
  exit(1)
}
