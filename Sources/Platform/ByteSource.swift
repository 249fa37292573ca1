/// Bytes read by position: a file, or memory of the host.
public protocol ByteSource: AnyObject, Sendable {
  /// What errors call it: a path, or "memory".
  var name: String { get }
  var size: Int { get }
  /// Fills `destination` from `offset`. Throws: `.format` past the end, `.io` when the system fails.
  func read(at offset: Int, into destination: UnsafeMutableRawBufferPointer) throws(MedDINOError)
}

extension InputFile: ByteSource {
  public var name: String { path }
}

/// Bytes in memory of the host, given back through `release` when the last reader is gone.
public final class MemorySource: ByteSource, @unchecked Sendable {
  public let name = "memory"
  public let size: Int
  private let base: UnsafeRawPointer
  private let release: () -> Void

  public init(_ base: UnsafeRawPointer, size: Int, release: @escaping () -> Void) {
    self.base = base
    self.size = size
    self.release = release
  }
  deinit { release() }

  public func read(at offset: Int, into destination: UnsafeMutableRawBufferPointer) throws(MedDINOError) {
    guard offset >= 0, destination.count <= size, offset <= size - destination.count else {
      throw .format("memory: truncated: \(destination.count) bytes wanted at offset \(offset), there are \(size)")
    }
    destination.copyMemory(from: UnsafeRawBufferPointer(start: base + offset, count: destination.count))
  }
}

extension ByteSource {
  /// `count` bytes from `offset` as an array; for headers and other small parts.
  public func bytes(at offset: Int, count: Int) throws(MedDINOError) -> [UInt8] {
    guard offset >= 0, count >= 0, count <= size, offset <= size - count else {
      throw .format("\(name): truncated: \(count) bytes wanted at offset \(offset), there are \(size)")
    }
    var result = [UInt8](repeating: 0, count: count)
    var failure: MedDINOError?
    result.withUnsafeMutableBytes { raw in
      do throws(MedDINOError) { try read(at: offset, into: raw) } catch { failure = error }
    }
    if let failure { throw failure }
    return result
  }
}
