import type { BatchCheckRequest, BatchCheckResponse, OpenFgaApi } from '@openfga/sdk'

/** OpenFGA's API as the official SDK has it; of BatchCheck, which may go past the SDK, only what is read of its answer. */
export type FgaApi = Omit<OpenFgaApi, 'batchCheck'> & { batchCheck: BatchCheck }

export type BatchCheck = (
  storeId: string,
  body: BatchCheckRequest,
  options?: { readonly signal?: AbortSignal },
) => Promise<
  BatchCheckResponse & { readonly $response: { readonly headers: Readonly<Record<string, unknown>> } }
>
