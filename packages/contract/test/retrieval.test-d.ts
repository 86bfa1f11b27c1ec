import { expectTypeOf, test } from 'vitest'
import type { CollectionList, Document, Question, RetrieveAnswer } from '../src/retrieval.ts'
import type {
  answerSchema,
  collectionListSchema,
  documentSchema,
  questionSchema,
} from '../src/retrieval-schemas.ts'
import type { Wire, WireInput } from '../src/wire.ts'

test('the types of retrieval are exactly what its schemas check', () => {
  expectTypeOf<WireInput<typeof questionSchema>>().toEqualTypeOf<Question>()
  expectTypeOf<Wire<typeof answerSchema>>().toEqualTypeOf<RetrieveAnswer>()
  expectTypeOf<Wire<typeof documentSchema>>().toEqualTypeOf<Document>()
  expectTypeOf<Wire<typeof collectionListSchema>>().toEqualTypeOf<CollectionList>()
})
