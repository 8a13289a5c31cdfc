// RecommendCovers from Node: `node client.js http://host:port user item...` prints the answer as JSON.
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { toJson } from "@bufbuild/protobuf";
import { CoversService, RecommendCoversResponseSchema } from "./gen/eyecatch/v1/covers_pb.js";

const [baseUrl, userId, ...itemIds] = process.argv.slice(2);
const client = createClient(CoversService, createGrpcTransport({ baseUrl }));
const answer = await client.recommendCovers({ userId, itemIds });
console.log(JSON.stringify(toJson(RecommendCoversResponseSchema, answer)));
process.exit(0);
