internal import CKernels
public import Platform

/// A SIMD path of the kernels. The best supported one is chosen at run time; tests and `MEDDINO_SIMD` force another.
public enum InstructionSet: String, CaseIterable, Sendable {
  case portable, avx2, avx512
  case avx512BFloat16 = "avx512-bf16"
  case neon

  var code: Int32 {
    switch self {
    case .portable: Int32(CK_PORTABLE)
    case .avx2: Int32(CK_AVX2)
    case .avx512: Int32(CK_AVX512)
    case .avx512BFloat16: Int32(CK_AVX512_BF16)
    case .neon: Int32(CK_NEON)
    }
  }
  public var isSupported: Bool { ck_isa_supported(code) != 0 }
  public static var best: InstructionSet {
    let code = ck_isa_best()
    return allCases.first { $0.code == code } ?? .portable
  }

  /// The path that `name` asks for. Throws: `.invalid` for unknown names, `.unsupported` when this processor lacks it.
  public static func named(_ name: String) throws(MedDINOError) -> InstructionSet {
    guard let set = InstructionSet(rawValue: name) else {
      throw .invalid("MEDDINO_SIMD is \"\(name)\", expected one of \(allCases.map(\.rawValue).joined(separator: ", "))")
    }
    guard set.isSupported else { throw .unsupported("MEDDINO_SIMD asks for \(name), which this processor does not have") }
    return set
  }
}
