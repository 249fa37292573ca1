public import Platform

/// Records a forward pass and walks it back.
///
/// Operations are methods that take and give `Variable`s; each keeps what its backward needs, and is forgotten once the walk has passed
/// it. One tape serves all steps of a training run, so that its memory is used again. Not shared between threads.
/// Source: architecture section 2.
public final class Tape {
  public let device: any TrainingDevice
  /// Products of all operations.
  public let precision: Precision
  public let workspace: Workspace
  /// Asked and told of progress before every operation of a walk, and by long operations.
  public var control: RunControl
  let pool: TensorPool

  /// One recorded operation; its closure holds what was saved.
  private struct Node {
    let output: GradientSlot
    let backward: (Tape, Tensor) throws(MedDINOError) -> Void
  }
  private var nodes: [Node] = []
  /// False while a forward runs only for its value.
  private(set) var isRecording = true
  /// Inside a walk another one shows no progress of its own.
  private var isReplaying = false

  public init(_ device: any TrainingDevice, precision: Precision = .float32, control: RunControl = RunControl()) {
    self.device = device
    self.precision = precision
    self.control = control
    workspace = Workspace(device.budget)
    pool = TensorPool(device.budget)
  }

  // MARK: variables

  /// A parameter as an operand. Its gradient goes to the parameter.
  public func variable(_ parameter: Parameter) -> Variable {
    Variable(parameter.value, slot: parameter.isTrainable ? GradientSlot(parameter: parameter) : nil)
  }
  /// An input whose gradient is wanted.
  public func leaf(_ value: Tensor) -> Variable { Variable(value, slot: GradientSlot()) }

  /// An uninitialised tensor in memory that goes back to the tape when nobody refers to it. Throws: `.outOfMemory`.
  public func tensor(_ shape: Shape, _ purpose: @autoclosure () -> String) throws(MedDINOError) -> Tensor {
    try pool.tensor(shape, purpose())
  }

  // MARK: walking back

  /// Adds to the gradient of a result; losses call it while the forward runs. The tensor now belongs to the tape. Without effect when
  /// nothing before the variable needs a gradient.
  public func seed(_ variable: Variable, _ gradient: Tensor) throws(MedDINOError) {
    if let target = variable.target { try hand(gradient, to: target) }
  }

  /// From everything that was seeded back to parameters and leaves; the tape is empty afterwards. Throws: `.outOfMemory`, `.cancelled`.
  public func backward() throws(MedDINOError) {
    let count = nodes.count
    while let node = nodes.popLast() {
      guard let gradient = node.output.take() else { continue }
      if isReplaying { try control.check() } else { try control.update(1 - Double(nodes.count + 1) / Double(count)) }
      try node.backward(self, gradient)
    }
  }
  /// The same from one result, whose gradient is given.
  public func backward(from variable: Variable, gradient: Tensor) throws(MedDINOError) {
    try seed(variable, gradient)
    try backward()
  }

  /// Forgets what is recorded, for the start of a step after one that failed or needed no backward.
  public func reset() { nodes.removeAll() }
  /// Gives memory that is kept for the next step back to the budget.
  public func trim() { pool.dropFree() }
  /// Operations that are recorded now.
  public var recordedCount: Int { nodes.count }

  // MARK: for operations

  /// The result of an operation on `inputs`: recorded when one of them needs a gradient.
  func record(
    _ value: Tensor, _ inputs: [Variable?], remake: Variable.Remake? = nil,
    _ backward: @escaping (Tape, Tensor) throws(MedDINOError) -> Void
  ) -> Variable {
    guard inputs.contains(where: { $0?.slot != nil }) else { return Variable(value) }
    let slot = GradientSlot()
    if isRecording { nodes.append(Node(output: slot, backward: backward)) }
    return Variable(value, slot: slot, remake: isRecording ? remake : nil)
  }

  /// Runs a forward for its value alone, such as validation: nothing is kept and nothing can be walked back.
  public func withoutRecording<T>(_ body: () throws(MedDINOError) -> T) throws(MedDINOError) -> T {
    let before = isRecording
    isRecording = false
    defer { isRecording = before }
    return try body()
  }

  /// Runs a forward again and walks it back at once, apart from what is recorded outside.
  func replay(_ body: () throws(MedDINOError) -> Variable, gradient: Tensor) throws(MedDINOError) {
    let outside = (nodes, isReplaying)
    nodes = []
    isReplaying = true
    defer { (nodes, isReplaying) = outside }
    try backward(from: try body(), gradient: gradient)
  }
}
