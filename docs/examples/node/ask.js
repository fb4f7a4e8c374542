// node ask.js HOST:PORT PICTURE QUESTION: a client made from the protos alone, by nobody's hand.
// Prints a line of JSON for each piece of text as it comes, and one for what was counted.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const PROTOS = path.join(__dirname, '..', '..', '..', 'protos');
const [endpoint, picture, question] = process.argv.slice(2);

const definition = protoLoader.loadSync('luvc/v1/encoder.proto', {
  includeDirs: [PROTOS],
  keepCase: true,
  longs: Number,
  enums: String,
});
const { EncoderService } = grpc.loadPackageDefinition(definition).luvc.v1;
const client = new EncoderService(endpoint, grpc.credentials.createInsecure());

const request = {
  messages: [
    {
      role: 'ROLE_USER',
      parts: [{ media: { data: fs.readFileSync(picture) } }, { text: question }],
    },
  ],
  sampling: { max_tokens: 8 },
  compression: { profile: 'lossless' },
};
const call = client.Generate(request, { deadline: Date.now() + 60_000 });
call.on('data', ({ text, finish_reason, usage }) => {
  if (text) console.log(JSON.stringify({ text }));
  if (usage) console.log(JSON.stringify({ finish_reason, usage }));
});
call.on('error', ({ code, details }) => {
  console.error(`${grpc.status[code]}: ${details}`);
  process.exitCode = 1;
});
call.on('end', () => client.close());
