import Platform

extension PickleMachine {
  /// One opcode. Anything outside the list is refused.
  mutating func step(_ opcode: UInt8) throws(MedDINOError) {
    if try stepScalar(opcode) { return }
    if try stepContainer(opcode) { return }
    switch opcode {
    case 0x80:
      let version = try byte()
      guard version <= 5 else { throw .unsupported("\(source): pickle protocol \(version), at most 5 is known") }
    case 0x95:
      guard try unsigned(8) <= UInt64(bytes.count - at) else { throw fault("a frame reaches past the end") }
    case UInt8(ascii: "("): marks.append(stack.count)
    case UInt8(ascii: "0"): try popOrUnmark()
    case UInt8(ascii: "q"): memo[Int(try byte())] = try top()
    case UInt8(ascii: "r"): memo[try length()] = try top()
    case 0x94: memo[memo.count] = try top()
    case UInt8(ascii: "h"): try recall(Int(try byte()))
    case UInt8(ascii: "j"): try recall(try length())
    case UInt8(ascii: "c"):
      let module = try line()
      push(.global(try globalName(module, try line())))
    case 0x93:
      guard case .string(let name) = try pop(), case .string(let module) = try pop() else { throw fault("a name is no text") }
      push(.global(try globalName(module, name)))
    case UInt8(ascii: "R"), 0x81:
      let arguments = try pop()
      let callee = try pop()
      guard let tuple = node(arguments, .tuple) else { throw fault("arguments are no tuple") }
      push(try reduce(callee, tuple.items))
    case UInt8(ascii: "b"):
      let state = try pop()
      try build(try top(), state)
    case UInt8(ascii: "Q"): push(try persistent(try pop()))
    default:
      let code = String(opcode, radix: 16)
      throw .unsupported("\(source): pickle opcode 0x\(code) at byte \(at - 1) is not one that checkpoints use")
    }
    guard marks.count <= limits.stack else { throw fault("it is larger than any checkpoint") }
  }

  private mutating func popOrUnmark() throws(MedDINOError) {
    if let mark = marks.last, mark == stack.count {
      marks.removeLast()
    } else {
      _ = try pop()
    }
  }
  private mutating func recall(_ index: Int) throws(MedDINOError) {
    guard let item = memo[index] else { throw fault("memo \(index) was never set") }
    push(item)
  }
  private func globalName(_ module: String, _ name: String) throws(MedDINOError) -> String {
    guard !module.isEmpty, !name.isEmpty, module.utf8.count + name.utf8.count <= 1024 else { throw fault("a name is empty or too long") }
    return module + " " + name
  }

  private mutating func stepScalar(_ opcode: UInt8) throws(MedDINOError) -> Bool {
    switch opcode {
    case UInt8(ascii: "N"): push(.none)
    case 0x88: push(.bool(true))
    case 0x89: push(.bool(false))
    case UInt8(ascii: "K"): push(.int(Int(try byte())))
    case UInt8(ascii: "M"): push(.int(Int(try unsigned(2))))
    case UInt8(ascii: "J"): push(.int(Int(Int32(truncatingIfNeeded: try unsigned(4)))))
    case 0x8a: push(try long(Int(try byte())))
    case 0x8b: push(try long(try length()))
    case UInt8(ascii: "G"):
      let bits = UInt64(bigEndian: UInt64(littleEndian: try unsigned(8)))
      push(.double(Double(bitPattern: bits)))
    case UInt8(ascii: "X"): push(.string(try text(try length())))
    case 0x8c: push(.string(try text(Int(try byte()))))
    case UInt8(ascii: "U"): push(oldText(try take(Int(try byte()))))
    case UInt8(ascii: "T"): push(oldText(try take(try length())))
    case UInt8(ascii: "C"): push(.bytes(Array(try take(Int(try byte())))))
    case UInt8(ascii: "B"): push(.bytes(Array(try take(try length()))))
    default: return false
    }
    return true
  }

  /// A text of Python 2: UTF-8 where it is, else bytes.
  private func oldText(_ bytes: UnsafeRawBufferPointer) -> Item {
    String(validating: bytes, as: UTF8.self).map(Item.string) ?? .bytes(Array(bytes))
  }
  /// Two's complement, little-endian, of any length; what does not fit in 64 bits is not a number that is needed.
  private mutating func long(_ count: Int) throws(MedDINOError) -> Item {
    let digits = try take(count)
    guard count <= 8 else { return .opaque("int") }
    var value: UInt64 = (digits.last ?? 0) & 0x80 == 0 ? 0 : UInt64.max
    for byte in digits.reversed() { value = value << 8 | UInt64(byte) }
    return .int(Int(Int64(bitPattern: value)))
  }

  private mutating func stepContainer(_ opcode: UInt8) throws(MedDINOError) -> Bool {
    switch opcode {
    case UInt8(ascii: "}"): push(make(.dict))
    case UInt8(ascii: "]"), 0x8f: push(make(.list))
    case UInt8(ascii: ")"): push(make(.tuple))
    case UInt8(ascii: "t"): push(make(.tuple, try popToMark()))
    case UInt8(ascii: "l"), 0x91: push(make(.list, try popToMark()))
    case UInt8(ascii: "d"): push(try makeDict(try popToMark()))
    case 0x85, 0x86, 0x87:
      var items: [Item] = []
      for _ in 0..<(opcode - 0x84) { items.append(try pop()) }
      push(make(.tuple, items.reversed()))
    case UInt8(ascii: "a"):
      let item = try pop()
      try append(try top(), [item])
    case UInt8(ascii: "e"), 0x90:
      let items = try popToMark()
      try append(try top(), items)
    case UInt8(ascii: "s"):
      let value = try pop()
      let key = try pop()
      try setItems(try top(), [key, value])
    case UInt8(ascii: "u"):
      let items = try popToMark()
      try setItems(try top(), items)
    default: return false
    }
    return true
  }
}
