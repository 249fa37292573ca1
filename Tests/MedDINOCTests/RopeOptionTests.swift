import CMedDINO
import MedDINOC
import TestSupport
import Testing

/// `options.rope` of meddino_model_open on a checkpoint, which does not say.
@Suite struct RopeOptionTests {
  private static let checkpoint = projectRoot + "/Tests/Golden/model/ckpt/official_flat.pth"

  private func architecture(_ rope: Int, _ context: OpaquePointer?) throws -> String {
    var options = meddino_model_options()
    meddino_model_options_init(&options, MemoryLayout<meddino_model_options>.size)
    options.rope = Int32(rope)
    var model: OpaquePointer?
    try #require(meddino_model_open(context, Self.checkpoint, &options, &model) == meddino_status(MEDDINO_OK))
    defer { meddino_model_release(model) }
    return String(cString: try #require(meddino_model_metadata(model, "architecture")))
  }

  @Test func aCheckpointTakesTheCallersChoice() throws {
    var context: OpaquePointer?
    try #require(meddino_context_create(nil, &context) == meddino_status(MEDDINO_OK))
    defer { meddino_context_release(context) }
    let bf16 = try architecture(Int(MEDDINO_ROPE_BF16), context)
    let f32 = try architecture(Int(MEDDINO_ROPE_F32), context)
    #expect(bf16.contains(#""pos_embed_rope_dtype": "bf16""#) && f32.contains(#""pos_embed_rope_dtype": "fp32""#))
    #expect(try architecture(Int(MEDDINO_ROPE_MODEL), context) == f32)  // the official layout implies it
  }
}
