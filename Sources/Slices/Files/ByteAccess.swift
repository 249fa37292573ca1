internal import Platform

/// `withUnsafeBytes` for bodies that throw our errors.
func withBytes<Result>(
  of bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(MedDINOError) -> Result
) throws(MedDINOError) -> Result {
  let outcome: Swift.Result<Result, MedDINOError> = bytes.withUnsafeBytes { raw in
    do throws(MedDINOError) { return .success(try body(raw)) } catch { return .failure(error) }
  }
  return try outcome.get()
}
